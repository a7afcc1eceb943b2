-- store::credentials: adds a user, or gives it a new password and enables it again
INSERT INTO mqtt_credentials (username, tenant_id, password_hash)
SELECT $1, t.id, $3 FROM tenants t WHERE t.name = $2
ON CONFLICT ON CONSTRAINT mqtt_credentials_pk
DO UPDATE SET tenant_id = excluded.tenant_id, password_hash = excluded.password_hash, enabled = true
