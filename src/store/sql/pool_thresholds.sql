-- store::pools: the thresholds that hold for a pool: its own, else the percents of its tenant
SELECT coalesce(p.threshold_percents, general.percents) AS percents, coalesce(p.threshold_bytes, '{}') AS bytes,
       CASE WHEN p.threshold_version IS NOT NULL THEN 'pool' WHEN general.version IS NOT NULL THEN 'tenant' ELSE 'default' END AS stated_for
FROM usage_pools p
LEFT JOIN alert_rules general ON general.tenant_id = p.tenant_id AND general.rate_plan_id = 0 AND general.iccid = ''
WHERE p.tenant_id = /* tenant */ $1 AND p.id = /* pool */ $2
