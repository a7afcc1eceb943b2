-- store::pools: changes a pool; what is NULL stays
UPDATE usage_pools p
SET name = coalesce(/* name */ $3, p.name), limit_bytes = coalesce(/* limit */ $4, p.limit_bytes),
    cycle_day = coalesce(/* cycle day */ $5, p.cycle_day), updated_at = /* at */ $6
WHERE p.tenant_id = /* tenant */ $1 AND p.id = /* pool */ $2
