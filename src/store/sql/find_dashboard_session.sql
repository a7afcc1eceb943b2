-- store::dashboard_sessions: the key of a session that has not expired
SELECT k.id, k.tenant_id, t.name AS tenant_name, k.name, s.token_hash AS key_hash, k.permissions, k.rate_limits, k.enabled,
       k.revision, s.expires_at, s.last_used_at < /* now */ $2 - interval '1 minute' AS resting
FROM dashboard_sessions s JOIN api_keys k ON k.id = s.api_key_id JOIN tenants t ON t.id = k.tenant_id
WHERE s.token_hash = $1 AND s.expires_at > $2 AND k.enabled
