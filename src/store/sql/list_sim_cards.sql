-- store::sim_lists: a page of SIMs by ICCID with carrier, plan and what they used of their limit in the current cycle
WITH page AS (
    SELECT s.* FROM provisioned_sims s
    WHERE s.tenant_id = /* tenant */ $1 AND s.iccid > /* after */ $2
    ORDER BY s.iccid LIMIT /* at most */ $3
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
        WHERE u.sim_id = page.sim_id AND u.iccid = page.iccid AND u.cycle_end > /* now */ $4
          AND (u.is_current OR u.cycle_start <= $4)
        ORDER BY u.is_current DESC LIMIT 1) AS c
)
SELECT s.sim_id, s.iccid, coalesce(s.imsi, '') AS imsi, coalesce(s.msisdn, '') AS msisdn, s.status,
       coalesce(c.name, '') AS carrier, coalesce(p.name, '') AS plan,
       round(coalesce(CASE WHEN cycle.shared THEN own.total ELSE cycle.total_bytes END, 0) / 1073741824, 2) || ' GB' AS data_used,
       round(coalesce(s.data_limit_bytes, 0)::numeric / 1073741824, 2) || ' GB' AS data_limit
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
ORDER BY s.iccid
