-- store::api_keys: keys by tenant and name, with their use since a day
WITH used AS (
    SELECT u.api_key_id, sum(u.accepted)::bigint AS accepted, sum(u.refused)::bigint AS refused, max(u.last_at) AS last_at
    FROM api_key_uses u WHERE u.used_on >= /* since */ $1 GROUP BY u.api_key_id
)
SELECT k.id, t.name AS tenant_name, k.name, k.permissions, k.rate_limits, k.enabled, k.created_at,
       coalesce(u.accepted, 0) AS accepted, coalesce(u.refused, 0) AS refused, u.last_at
FROM api_keys k
JOIN tenants t ON t.id = k.tenant_id
LEFT JOIN used u ON u.api_key_id = k.id
WHERE k.id > /* after */ $2 ORDER BY k.id LIMIT /* at most */ $3
