-- store::pools: a pool of a tenant by its name
SELECT p.id FROM usage_pools p WHERE p.tenant_id = $1 AND p.name = $2
