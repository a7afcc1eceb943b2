-- store::api_keys: the key with this hash
SELECT k.id, k.tenant_id, t.name AS tenant_name, k.name, k.key_hash, k.permissions, k.rate_limits, k.enabled, k.revision
FROM api_keys k JOIN tenants t ON t.id = k.tenant_id
WHERE k.key_hash = $1
