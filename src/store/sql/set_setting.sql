-- store::settings: sets one
INSERT INTO settings AS held (key, value) VALUES (/* key */ $1, /* value */ $2)
ON CONFLICT ON CONSTRAINT settings_pk DO UPDATE SET value = excluded.value, updated_at = now()
