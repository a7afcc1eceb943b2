-- store::pools: states the thresholds of a pool, unless they are stated so already, and arms them anew; false without such a pool
WITH stated AS (
    UPDATE usage_pools p
    SET threshold_percents = /* percents */ $3, threshold_bytes = /* bytes */ $4, threshold_version = nextval('alert_rule_versions'),
        updated_at = /* at */ $5
    WHERE p.tenant_id = /* tenant */ $1 AND p.id = /* pool */ $2
      AND (p.threshold_percents, p.threshold_bytes) IS DISTINCT FROM ($3, $4)
)
SELECT EXISTS (SELECT FROM usage_pools p WHERE p.tenant_id = $1 AND p.id = $2) AS found
