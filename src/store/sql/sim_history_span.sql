-- store::sim_usage: a SIM with the days and moments that dates or times mean in the time zone in which its days are counted
-- A date counts whole; a time that ends a range is the first moment left out.
SELECT s.sim_id, s.iccid, z.zone, ($7 AT TIME ZONE z.zone)::date AS today,
       coalesce(/* start date */ $3::date, (/* start time */ $4::timestamptz AT TIME ZONE z.zone)::date) AS first_day,
       coalesce(/* end date */ $5::date, ((/* end time */ $6::timestamptz - interval '1 microsecond') AT TIME ZONE z.zone)::date) AS last_day,
       coalesce($4, $3::timestamp AT TIME ZONE z.zone) AS first_moment,
       coalesce($6, ($5 + 1)::timestamp AT TIME ZONE z.zone) - interval '1 microsecond' AS last_moment,
       nullif(v.raw_floor, '-infinity') AS raw_floor
FROM provisioned_sims s
CROSS JOIN LATERAL (SELECT rollup_zone(s.tenant_id, s.iccid) AS zone) AS z
CROSS JOIN inventory_version v
WHERE s.tenant_id = /* tenant */ $1 AND (s.sim_id = /* id or ICCID */ $2 OR s.iccid = $2)
