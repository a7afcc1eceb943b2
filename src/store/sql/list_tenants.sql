-- store::tenants: every tenant with what it has, and how far its days are on their way to another time zone
WITH owned AS (
    SELECT tenant_id, count(*) AS sims FROM provisioned_sims GROUP BY tenant_id
)
SELECT t.id, t.name, t.time_zone, t.currency, coalesce(owned.sims, 0) AS sims,
       (SELECT count(*) FROM rate_plans p WHERE p.tenant_id = t.id) AS rate_plans, z.former_zone,
       -- SIMs that ever had usage: those are moved.
       CASE WHEN z.tenant_id IS NOT NULL THEN
           (SELECT count(*) FROM sim_numbers n WHERE n.tenant_id = t.id AND n.iccid > z.done_iccid) END AS sims_to_move
FROM tenants t
LEFT JOIN owned ON owned.tenant_id = t.id
LEFT JOIN zone_changes z ON z.tenant_id = t.id
ORDER BY t.name
