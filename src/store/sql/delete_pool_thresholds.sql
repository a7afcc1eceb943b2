-- store::pools: forgets the thresholds of a pool; those of its tenant hold, armed anew
UPDATE usage_pools p
SET threshold_percents = NULL, threshold_bytes = NULL, threshold_version = NULL, updated_at = /* at */ $3
WHERE p.tenant_id = /* tenant */ $1 AND p.id = /* pool */ $2 AND p.threshold_version IS NOT NULL
