-- store::alerts: alerts of SIMs of all tenants after one of them, in the order in which they were raised
SELECT a.id, a.tenant_id, a.sim_id, a.iccid, a.cycle_id, a.cycle_start, a.cycle_end, a.threshold_percent,
       -- A JSON number holds 2^53 exactly.
       least(a.threshold_bytes, 9007199254740991)::bigint AS threshold_bytes, a.limit_bytes,
       least(a.used_bytes, 9007199254740991)::bigint AS used_bytes,
       CASE WHEN a.used_bytes > 9007199254740991 THEN a.used_bytes::text END AS used_bytes_exact,
       CASE WHEN a.limit_bytes > 0 THEN round(a.used_bytes * 100 / a.limit_bytes, 2)::double precision END AS percent,
       a.raised_at, a.exhausted_on, a.pool_id, a.pool_name
FROM usage_alerts a WHERE a.id > $1 AND a.pool_id IS NULL ORDER BY a.id LIMIT $2
