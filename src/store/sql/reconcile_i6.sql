-- store::reconcile I6: tenant, carrier, plan and cycle are those in force at period_start
WITH alike AS (
    -- Millions of records are a few of these for each SIM: looking up what was in force for each record takes ten times as long.
    SELECT key_tenant_id, iccid, tenant_id, sim_id, carrier_id, rate_plan_id, cycle_id,
           min(period_start) AS earliest, max(period_start) AS latest
    FROM usage_records
    WHERE iccid > /* after ICCID */ $1 AND iccid <= /* up to ICCID */ $2
    GROUP BY key_tenant_id, iccid, tenant_id, sim_id, carrier_id, rate_plan_id, cycle_id
), doubtful AS (
    -- SIMs of which something changed between the first and the last of them, or was never as they say.
    SELECT DISTINCT a.iccid
    FROM alike a
    LEFT JOIN LATERAL (
        SELECT s.tenant_id, s.sim_id, s.carrier_id, s.rate_plan_id FROM sim_ownership s
        WHERE s.iccid = a.iccid AND s.valid_from <= a.earliest
        ORDER BY s.valid_from DESC LIMIT 1
    ) AS o ON EXISTS (SELECT FROM sim_ownership m WHERE m.iccid = a.iccid AND m.tenant_id = a.key_tenant_id)
    LEFT JOIN usage_cycles c ON c.sim_id = o.sim_id AND c.iccid = a.iccid
                            AND c.cycle_start <= a.earliest AND a.latest < c.cycle_end
    WHERE (a.tenant_id, a.sim_id, a.carrier_id, a.rate_plan_id, a.cycle_id)
          IS DISTINCT FROM (coalesce(o.tenant_id, a.key_tenant_id), o.sim_id, o.carrier_id, o.rate_plan_id, c.cycle_id)
       OR (a.sim_id IS NOT NULL AND a.cycle_id IS NULL)
       OR EXISTS (SELECT FROM sim_ownership n
                  WHERE n.iccid = a.iccid AND n.valid_from > a.earliest AND n.valid_from <= a.latest)
)
SELECT format('record %s of SIM %s at %s: tenant %s carrier %s plan %s cycle %s, in force tenant %s carrier %s plan %s cycle %s',
              r.record_id, r.iccid, r.period_start, r.tenant_id, r.carrier_id, r.rate_plan_id, r.cycle_id,
              o.tenant_id, o.carrier_id, o.rate_plan_id, c.cycle_id) AS violation
FROM doubtful d
-- The bounds once more: the planner takes an equation along, not what is known of its other side.
JOIN usage_records r ON r.iccid = d.iccid AND r.iccid > $1 AND r.iccid <= $2
-- What a record of this SIM, sent by this tenant, is given when it is stored (records_in_force).
LEFT JOIN LATERAL (
    SELECT s.tenant_id, s.sim_id, s.carrier_id, s.rate_plan_id FROM sim_ownership s
    WHERE s.iccid = r.iccid AND s.valid_from <= r.period_start
    ORDER BY s.valid_from DESC LIMIT 1
) AS o ON EXISTS (SELECT FROM sim_ownership m WHERE m.iccid = r.iccid AND m.tenant_id = r.key_tenant_id)
LEFT JOIN usage_cycles c ON c.sim_id = o.sim_id AND c.iccid = r.iccid
                        AND c.cycle_start <= r.period_start AND r.period_start < c.cycle_end
WHERE ((r.tenant_id, r.sim_id, r.carrier_id, r.rate_plan_id, r.cycle_id)
       IS DISTINCT FROM (coalesce(o.tenant_id, r.key_tenant_id), o.sim_id, o.carrier_id, o.rate_plan_id, c.cycle_id)
       OR (r.sim_id IS NOT NULL AND r.cycle_id IS NULL))
LIMIT 1000
