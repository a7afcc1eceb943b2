-- store::settings: what is set, and since when
SELECT key, value, updated_at FROM settings
