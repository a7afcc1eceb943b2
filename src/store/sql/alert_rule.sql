-- store::alerts: the thresholds that hold for a SIM, a rate plan or a tenant: the most specific ones
SELECT r.percents, r.bytes,
       CASE WHEN r.iccid <> '' THEN 'sim' WHEN r.rate_plan_id <> 0 THEN 'ratePlan' ELSE 'tenant' END AS stated_for
FROM alert_rules r
WHERE r.tenant_id = $1
  AND ((r.iccid = /* iccid */ $3 AND r.rate_plan_id = 0) OR (r.iccid = '' AND r.rate_plan_id IN (0, /* plan */ $2)))
ORDER BY r.iccid DESC, r.rate_plan_id DESC LIMIT 1
