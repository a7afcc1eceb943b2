-- store::sim_table: ICCIDs of a page of SIMs that match, by what they used in the current cycle, SIMs without a share last
WITH moved AS (
    -- Others had these before: what they used of a cycle is nobody else's to see, not even by the place of a SIM in a list.
    SELECT DISTINCT o.iccid FROM sim_ownership o JOIN provisioned_sims s ON s.iccid = o.iccid AND s.tenant_id = /* tenant */ $1
    WHERE o.tenant_id <> $1
), matching AS (
    SELECT s.sim_id, s.iccid, s.data_limit_bytes AS limit_bytes FROM provisioned_sims s
    WHERE s.tenant_id = $1
      AND (/* search */ $2 = '' OR strpos(lower(concat_ws(E'\n', s.iccid, s.imsi, s.msisdn, s.device_name) COLLATE "C"), lower($2 COLLATE "C")) > 0)
      AND (cardinality(/* statuses */ $3::text[]) = 0 OR s.status = ANY ($3))
      AND (cardinality(/* carriers */ $4::text[]) = 0
           OR s.carrier_id = ANY (ARRAY(SELECT c.id FROM carriers c WHERE c.name = ANY ($4))))
), used AS (
    -- A cycle that has ended counts as nothing until the next one is current, which is a matter of seconds.
    SELECT m.iccid, m.limit_bytes,
           coalesce(CASE WHEN moved.iccid IS NULL THEN c.total_bytes
                         ELSE (SELECT sum(d.total_bytes) FROM sim_daily_usage d
                               WHERE d.tenant_id = $1 AND d.iccid = m.iccid AND d.cycle_id = c.cycle_id
                                 -- In any time zone.
                                 AND d.usage_date BETWEEN (c.cycle_start AT TIME ZONE 'UTC')::date - 1
                                                      AND (c.cycle_end AT TIME ZONE 'UTC')::date + 1) END, 0)::float8 AS bytes
    FROM matching m
    LEFT JOIN moved ON moved.iccid = m.iccid
    LEFT JOIN usage_cycles c ON c.sim_id = m.sim_id AND c.iccid = m.iccid AND c.is_current AND c.cycle_end > /* now */ $9
)
SELECT u.iccid FROM used u
ORDER BY CASE WHEN /* descending */ $6 THEN -1 ELSE 1 END
         * CASE WHEN /* field */ $5 = 'usedBytes' THEN u.bytes WHEN u.limit_bytes > 0 THEN u.bytes / u.limit_bytes END NULLS LAST,
         u.iccid
LIMIT /* limit */ $7 OFFSET /* offset */ $8
