-- store::sim_diagnosis: how the records of an ICCID stand: with or without an owner, rolled up or not, and since when raw ones are kept
WITH counted AS (
    SELECT count(*) AS records,
           count(*) FILTER (WHERE r.sim_id IS NULL) AS without_owner,
           coalesce(sum(r.total_bytes) FILTER (WHERE r.sim_id IS NULL), 0)::text AS without_owner_bytes,
           count(*) FILTER (WHERE m.since IS NOT NULL) AS pending,
           coalesce(sum(r.total_bytes) FILTER (WHERE m.since IS NOT NULL), 0)::text AS pending_bytes,
           min(m.since) AS pending_since
    FROM usage_records r
    LEFT JOIN (SELECT write_id, min(created_at) AS since FROM rollup_markers GROUP BY write_id) AS m ON m.write_id = r.write_id
    WHERE r.iccid = /* iccid */ $1
)
SELECT counted.*,
       -- By tenant, because that is how the index begins.
       (SELECT max(s.latest_event_at) FROM tenants t JOIN sim_daily_usage s ON s.tenant_id = t.id AND s.iccid = $1)
           AS latest_event_at,
       (SELECT count(*) FROM records_in_force(ARRAY[$1], '-infinity')) AS stamped_otherwise,
       nullif(v.raw_floor, '-infinity') AS raw_floor
FROM counted CROSS JOIN inventory_version v
