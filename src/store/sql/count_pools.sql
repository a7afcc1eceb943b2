-- store::pools: how many pools a tenant has
SELECT count(*) AS total FROM usage_pools p WHERE p.tenant_id = $1
