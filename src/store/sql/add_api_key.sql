-- store::api_keys: a new key of a tenant
INSERT INTO api_keys (tenant_id, name, key_hash, permissions, rate_limits)
SELECT t.id, $2, $3, $4, $5 FROM tenants t WHERE t.name = $1
RETURNING id
