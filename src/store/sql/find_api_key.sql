-- store::api_keys: the key with this hash
SELECT k.id, k.tenant_id, k.name, k.key_hash, k.permissions, k.rate_limits, k.enabled
FROM api_keys k WHERE k.key_hash = $1
