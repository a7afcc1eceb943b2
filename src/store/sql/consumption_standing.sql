-- store::consumption: what every answer for a tenant depends on beside its question
SELECT t.name, t.time_zone, t.currency, (/* now */ $2::timestamptz AT TIME ZONE t.time_zone)::date AS today, v.raw_floor,
       -- Each only grows, so their sum stands still only when both do.
       coalesce((SELECT sum(c.version) FROM consumption_versions c WHERE c.tenant_id = t.id), 0)::bigint AS version
FROM tenants t CROSS JOIN inventory_version v
WHERE t.id = /* tenant */ $1
