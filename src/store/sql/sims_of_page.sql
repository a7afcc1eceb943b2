-- store::sim_table: what a list of SIMs shows of them, in the order of the ICCIDs that are asked for
WITH page AS (
    SELECT s.*, asked.place FROM unnest(/* iccids */ $2::text[]) WITH ORDINALITY AS asked (iccid, place)
    JOIN provisioned_sims s ON s.iccid = asked.iccid AND s.tenant_id = /* tenant */ $1
), cycle AS (
    -- The current one; between its end and the next roll-over, the one that will be.
    SELECT page.iccid, c.cycle_id, c.cycle_start, c.cycle_end, c.total_bytes,
           -- Whoever had the SIM in a part of the cycle used something of it that is nobody else's to see.
           EXISTS (SELECT FROM sim_ownership o
                   WHERE o.iccid = page.iccid AND o.tenant_id <> $1 AND o.valid_from < c.cycle_end
                     AND c.cycle_start < coalesce((SELECT min(n.valid_from) FROM sim_ownership n
                                                   WHERE n.iccid = o.iccid AND n.valid_from > o.valid_from), 'infinity'))
               AS shared
    FROM page
    CROSS JOIN LATERAL (
        SELECT u.* FROM usage_cycles u
        WHERE u.sim_id = page.sim_id AND u.iccid = page.iccid AND u.cycle_end > /* now */ $3
          AND (u.is_current OR u.cycle_start <= $3)
        ORDER BY u.is_current DESC LIMIT 1) AS c
)
SELECT s.sim_id, s.iccid, s.imsi, s.msisdn, s.status, s.device_name, s.location_name, c.name AS carrier, p.name AS rate_plan,
       s.data_limit_bytes, cycle.cycle_id, used.bytes::text AS used_bytes,
       CASE WHEN s.data_limit_bytes > 0 THEN trim_scale(round(used.bytes * 100 / s.data_limit_bytes, 2))::text END AS percent,
       newest.period_end AS last_record_at
FROM page s
LEFT JOIN carriers c ON c.id = s.carrier_id
LEFT JOIN rate_plans p ON p.id = s.rate_plan_id
LEFT JOIN cycle ON cycle.iccid = s.iccid
LEFT JOIN LATERAL (
    SELECT sum(d.total_bytes) AS total FROM sim_daily_usage d
    WHERE cycle.shared AND d.tenant_id = $1 AND d.iccid = cycle.iccid AND d.cycle_id = cycle.cycle_id
      -- In any time zone.
      AND d.usage_date BETWEEN (cycle.cycle_start AT TIME ZONE 'UTC')::date - 1 AND (cycle.cycle_end AT TIME ZONE 'UTC')::date + 1
) AS own ON true
CROSS JOIN LATERAL (
    SELECT coalesce(CASE WHEN cycle.shared THEN own.total ELSE cycle.total_bytes END, 0) AS bytes
) AS used
LEFT JOIN LATERAL (
    SELECT r.period_end FROM usage_records r WHERE r.iccid = s.iccid AND r.tenant_id = $1
    ORDER BY r.period_start DESC, r.id DESC LIMIT 1
) AS newest ON true
ORDER BY s.place
