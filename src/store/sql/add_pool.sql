-- store::pools: a new pool, unless the tenant has one of this name or as many as it may have
WITH held AS (
    SELECT count(*) >= /* at most */ $6 AS full FROM usage_pools p WHERE p.tenant_id = /* tenant */ $1
), added AS (
    INSERT INTO usage_pools (tenant_id, name, limit_bytes, cycle_day, created_at, updated_at)
    SELECT $1, /* name */ $2, /* limit */ $3, /* cycle day */ $4, /* at */ $5, $5 FROM held WHERE NOT held.full
    ON CONFLICT ON CONSTRAINT usage_pools_name_unique DO NOTHING
    RETURNING id
)
SELECT held.full, (SELECT added.id FROM added) AS id FROM held
