-- store::tenants: first moment of a day in the zone of a tenant, or of the tenant that has a SIM
SELECT /* day */ $3::date::timestamp AT TIME ZONE t.time_zone AS moment
FROM tenants t
WHERE t.id = coalesce(/* tenant */ $1, (SELECT s.tenant_id FROM provisioned_sims s WHERE s.iccid = /* iccid */ $2))
