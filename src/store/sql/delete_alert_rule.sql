-- store::alerts: forgets the thresholds of a scope, and arms those anew that hold instead
WITH forgotten AS (
    DELETE FROM alert_rules r WHERE r.tenant_id = $1 AND r.rate_plan_id = /* plan */ $2 AND r.iccid = /* iccid */ $3
    RETURNING r.tenant_id
), armed AS (
    DELETE FROM alert_states a USING forgotten, provisioned_sims s
    WHERE a.tenant_id = forgotten.tenant_id AND s.sim_id = a.sim_id AND ($3 = '' OR s.iccid = $3) AND ($2 = 0 OR s.rate_plan_id = $2)
)
SELECT FROM forgotten
