-- store::embedded::database_exists
SELECT EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = 'simbridge')
