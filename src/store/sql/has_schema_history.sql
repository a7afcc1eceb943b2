-- store::migrations: whether a simbridge was here before
SELECT to_regclass('schema_history') IS NOT NULL AS present
