-- store::sim_diagnosis: a SIM of the inventory with its current cycle; nothing for an ICCID that is not there
SELECT s.sim_id, s.imsi, s.msisdn, s.status, s.customer_id, s.device_name, s.location_name, s.cycle_day, s.data_limit_bytes,
       s.tenant_id, t.name AS tenant, t.time_zone, rollup_zone(s.tenant_id, s.iccid) AS rollup_zone, c.name AS carrier, c.mccmnc,
       p.name AS plan, trim_scale(p.price_per_mb)::text AS price_per_mb, p.included_bytes, p.currency, u.cycle_id, u.cycle_start,
       u.cycle_end, u.total_bytes::text AS cycle_bytes,
       CASE WHEN s.data_limit_bytes > 0 THEN round(u.total_bytes * 100 / s.data_limit_bytes, 2)::text END AS percent_used
FROM provisioned_sims s
JOIN tenants t ON t.id = s.tenant_id
LEFT JOIN carriers c ON c.id = s.carrier_id
LEFT JOIN rate_plans p ON p.id = s.rate_plan_id
LEFT JOIN usage_cycles u ON u.sim_id = s.sim_id AND u.iccid = s.iccid AND u.is_current
WHERE s.iccid = /* iccid */ $1
