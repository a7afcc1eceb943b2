-- store::alerts: a page of a tenant's alerts, newest first; what is empty or NULL matches all
SELECT a.id, a.tenant_id, a.sim_id, a.iccid, a.cycle_id, a.cycle_start, a.cycle_end, a.threshold_percent,
       -- A JSON number holds 2^53 exactly.
       least(a.threshold_bytes, 9007199254740991)::bigint AS threshold_bytes, a.limit_bytes,
       least(a.used_bytes, 9007199254740991)::bigint AS used_bytes,
       CASE WHEN a.used_bytes > 9007199254740991 THEN a.used_bytes::text END AS used_bytes_exact,
       CASE WHEN a.limit_bytes > 0 THEN round(a.used_bytes * 100 / a.limit_bytes, 2)::double precision END AS percent,
       a.raised_at, a.exhausted_on, a.pool_id, a.pool_name
FROM usage_alerts a
WHERE a.tenant_id = $1 AND ($2 = '' OR a.iccid = $2) AND ($3 = '' OR a.cycle_id = $3)
  AND ($4::timestamptz IS NULL OR a.raised_at >= $4) AND ($5::timestamptz IS NULL OR a.raised_at < $5) AND a.id < /* before */ $6
  AND (/* pool */ $8::integer IS NULL OR a.pool_id = $8)
ORDER BY a.id DESC LIMIT $7
