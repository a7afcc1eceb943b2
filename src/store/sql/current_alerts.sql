-- store::alerts: the newest alert of each SIM in its current cycle; of too many the newest ones
WITH newest AS (
    SELECT DISTINCT ON (h.tenant_id, h.iccid) h.* FROM usage_alerts h
    WHERE h.cycle_end > /* at */ $1 AND h.pool_id IS NULL ORDER BY h.tenant_id, h.iccid, h.id DESC
)
SELECT a.id, a.tenant_id, a.sim_id, a.iccid, a.cycle_id, a.cycle_start, a.cycle_end, a.threshold_percent,
       -- A JSON number holds 2^53 exactly.
       least(a.threshold_bytes, 9007199254740991)::bigint AS threshold_bytes, a.limit_bytes,
       least(a.used_bytes, 9007199254740991)::bigint AS used_bytes,
       CASE WHEN a.used_bytes > 9007199254740991 THEN a.used_bytes::text END AS used_bytes_exact,
       CASE WHEN a.limit_bytes > 0 THEN round(a.used_bytes * 100 / a.limit_bytes, 2)::double precision END AS percent,
       a.raised_at, a.exhausted_on, a.pool_id, a.pool_name
FROM newest a
JOIN provisioned_sims s ON s.iccid = a.iccid AND s.tenant_id = a.tenant_id
JOIN usage_cycles c ON c.sim_id = a.sim_id AND c.iccid = a.iccid AND c.cycle_id = a.cycle_id AND c.is_current
ORDER BY a.id DESC LIMIT $2
