-- store::embedded: whether the program's database exists
SELECT EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = 'simbridge')
