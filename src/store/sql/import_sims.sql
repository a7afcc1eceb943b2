-- store::sims: adds or changes SIMs of one tenant; a value that the import does not state stays as it is
-- Returns the ICCIDs that were stored; those held by another tenant are not among them.
WITH given AS (
    SELECT * FROM unnest(
        /* iccid */ $2::text[], /* imsi */ $3::text[], /* msisdn */ $4::text[], /* carrier */ $5::text[],
        /* rate_plan */ $6::text[], /* data_limit_bytes */ $7::bigint[], /* customer_id */ $8::text[],
        /* status */ $9::text[], /* device_name */ $10::text[], /* latitude */ $11::double precision[],
        /* longitude */ $12::double precision[], /* location_name */ $13::text[], /* cycle_day */ $14::smallint[])
        AS sim (iccid, imsi, msisdn, carrier, rate_plan, data_limit_bytes, customer_id, status, device_name, latitude,
                longitude, location_name, cycle_day)
)
INSERT INTO provisioned_sims AS held (
    iccid, tenant_id, imsi, msisdn, carrier_id, rate_plan_id, data_limit_bytes, customer_id, status, device_name,
    latitude, longitude, location_name, cycle_day)
SELECT given.iccid, $1, given.imsi, given.msisdn, c.id, p.id, given.data_limit_bytes, given.customer_id,
       coalesce(given.status, 'Active'), given.device_name, given.latitude, given.longitude, given.location_name,
       coalesce(given.cycle_day, 1)
FROM given
LEFT JOIN carriers c ON c.name = given.carrier
LEFT JOIN rate_plans p ON p.tenant_id = $1 AND p.name = given.rate_plan
ORDER BY given.iccid
ON CONFLICT ON CONSTRAINT provisioned_sims_iccid_unique DO UPDATE SET
    imsi = coalesce(excluded.imsi, held.imsi),
    msisdn = coalesce(excluded.msisdn, held.msisdn),
    carrier_id = coalesce(excluded.carrier_id, held.carrier_id),
    rate_plan_id = coalesce(excluded.rate_plan_id, held.rate_plan_id),
    data_limit_bytes = coalesce(excluded.data_limit_bytes, held.data_limit_bytes),
    customer_id = coalesce(excluded.customer_id, held.customer_id),
    status = coalesce((SELECT g.status FROM given g WHERE g.iccid = held.iccid), held.status),
    device_name = coalesce(excluded.device_name, held.device_name),
    latitude = coalesce(excluded.latitude, held.latitude),
    longitude = coalesce(excluded.longitude, held.longitude),
    location_name = coalesce(excluded.location_name, held.location_name),
    cycle_day = coalesce((SELECT g.cycle_day FROM given g WHERE g.iccid = held.iccid), held.cycle_day),
    updated_at = now()
WHERE held.tenant_id = excluded.tenant_id
RETURNING held.iccid, held.xmax = 0 AS created
