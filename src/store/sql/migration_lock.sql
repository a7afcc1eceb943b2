-- store::migrations: one instance at a time changes the schema
SELECT pg_advisory_xact_lock(hashtext('simbridge.migrations'))
