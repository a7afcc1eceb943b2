-- store::sims: a page of SIMs by ICCID with the usage of their current cycle
SELECT s.sim_id, s.iccid, s.msisdn, s.status, c.name AS carrier, p.name AS rate_plan, s.data_limit_bytes,
       u.cycle_id, u.total_bytes::text AS total_bytes, u.record_count
FROM provisioned_sims s
LEFT JOIN carriers c ON c.id = s.carrier_id
LEFT JOIN rate_plans p ON p.id = s.rate_plan_id
LEFT JOIN usage_cycles u ON u.sim_id = s.sim_id AND u.iccid = s.iccid AND u.is_current
WHERE s.tenant_id = $1 AND s.iccid > $2
ORDER BY s.iccid LIMIT $3
