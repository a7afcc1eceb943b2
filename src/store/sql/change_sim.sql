-- store::sim_changes: changes the fields of a SIM that are given: null clears one, what is missing stays
UPDATE provisioned_sims s SET
    imsi = CASE WHEN given ? 'imsi' THEN given->>'imsi' ELSE s.imsi END,
    msisdn = CASE WHEN given ? 'msisdn' THEN given->>'msisdn' ELSE s.msisdn END,
    carrier_id = CASE WHEN given ? 'carrier' THEN (SELECT c.id FROM carriers c WHERE c.name = given->>'carrier')
                      ELSE s.carrier_id END,
    rate_plan_id = CASE WHEN given ? 'ratePlan'
                        THEN (SELECT p.id FROM rate_plans p WHERE p.tenant_id = $1 AND p.name = given->>'ratePlan')
                        ELSE s.rate_plan_id END,
    data_limit_bytes = CASE WHEN given ? 'dataLimitBytes' THEN (given->>'dataLimitBytes')::bigint ELSE s.data_limit_bytes END,
    customer_id = CASE WHEN given ? 'customerId' THEN given->>'customerId' ELSE s.customer_id END,
    status = coalesce(given->>'status', s.status),
    device_name = CASE WHEN given ? 'deviceName' THEN given->>'deviceName' ELSE s.device_name END,
    latitude = CASE WHEN given ? 'latitude' THEN (given->>'latitude')::double precision ELSE s.latitude END,
    longitude = CASE WHEN given ? 'longitude' THEN (given->>'longitude')::double precision ELSE s.longitude END,
    location_name = CASE WHEN given ? 'locationName' THEN given->>'locationName' ELSE s.location_name END,
    cycle_day = coalesce((given->>'cycleDay')::smallint, s.cycle_day),
    updated_at = /* now */ $4
FROM (SELECT /* fields */ $3::jsonb AS given) AS patch
WHERE s.tenant_id = /* tenant */ $1 AND (s.sim_id = /* id or ICCID */ $2 OR s.iccid = $2)
RETURNING s.iccid
