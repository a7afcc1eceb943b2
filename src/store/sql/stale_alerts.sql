-- store::alerts: which of some alerts are not of their SIM's current cycle any more, or of a SIM that changed hands
SELECT known.id FROM unnest(/* ids */ $1::bigint[]) AS known (id)
WHERE NOT EXISTS (
    SELECT FROM usage_alerts a
    JOIN provisioned_sims s ON s.iccid = a.iccid AND s.tenant_id = a.tenant_id
    JOIN usage_cycles c ON c.sim_id = a.sim_id AND c.iccid = a.iccid AND c.cycle_id = a.cycle_id AND c.is_current
    WHERE a.id = known.id AND a.cycle_end > /* at */ $2)
