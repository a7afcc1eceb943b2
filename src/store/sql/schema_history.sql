-- store::migrations: what was applied, in order
SELECT version, name, checksum FROM schema_history ORDER BY version
