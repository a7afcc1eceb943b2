-- store::migrations: a migration was applied
INSERT INTO schema_history (version, name, checksum) VALUES ($1, $2, $3)
