-- store::alerts: states the thresholds of a scope, unless they are stated so already, and arms them anew
WITH stated AS (
    INSERT INTO alert_rules AS held (tenant_id, rate_plan_id, iccid, percents, bytes, updated_at)
    VALUES ($1, /* plan */ $2, /* iccid */ $3, /* percents */ $4, /* bytes */ $5, /* at */ $6)
    ON CONFLICT ON CONSTRAINT alert_rules_pk DO UPDATE SET
        percents = excluded.percents, bytes = excluded.bytes, updated_at = excluded.updated_at,
        version = nextval('alert_rule_versions')
    WHERE (held.percents, held.bytes) <> (excluded.percents, excluded.bytes)
    RETURNING tenant_id
)
-- The version alone tells a rule that follows another one, but not the absence of rules before and after a short one.
DELETE FROM alert_states a USING stated, provisioned_sims s
WHERE a.tenant_id = stated.tenant_id AND s.sim_id = a.sim_id AND ($3 = '' OR s.iccid = $3) AND ($2 = 0 OR s.rate_plan_id = $2)
