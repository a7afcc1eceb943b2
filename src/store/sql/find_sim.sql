-- store::sim_changes: a SIM of a tenant by its id or ICCID
SELECT s.sim_id, s.iccid, s.imsi, s.msisdn, c.name AS carrier, p.name AS rate_plan, s.data_limit_bytes, s.customer_id, s.status,
       s.device_name, s.latitude, s.longitude, s.location_name, s.cycle_day, s.created_at, s.updated_at
FROM provisioned_sims s
LEFT JOIN carriers c ON c.id = s.carrier_id
LEFT JOIN rate_plans p ON p.id = s.rate_plan_id
WHERE s.tenant_id = /* tenant */ $1 AND (s.sim_id = /* id or ICCID */ $2 OR s.iccid = $2)
