-- store::alerts: a SIM of a tenant by its id or ICCID, with its rate plan
SELECT s.iccid, coalesce(s.rate_plan_id, 0) AS rate_plan_id FROM provisioned_sims s
WHERE s.tenant_id = $1 AND (s.sim_id = $2 OR s.iccid = $2)
