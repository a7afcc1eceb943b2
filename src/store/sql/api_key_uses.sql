-- store::api_keys: what a key was used for, newest first; one row without a day when it was not used, none without a key
SELECT k.id, u.used_on, u.address, u.action, u.accepted, u.refused, u.first_at, u.last_at
FROM api_keys k
JOIN tenants t ON t.id = k.tenant_id
LEFT JOIN api_key_uses u ON u.api_key_id = k.id
WHERE t.name = /* tenant */ $1 AND k.name = /* name */ $2
ORDER BY u.last_at DESC, u.address, u.action LIMIT /* at most */ $3
