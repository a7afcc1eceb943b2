-- store::pools: a pool, with its members and days
DELETE FROM usage_pools p WHERE p.tenant_id = /* tenant */ $1 AND p.id = /* pool */ $2
