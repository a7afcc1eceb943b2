-- store::tenants
SELECT id FROM tenants WHERE name = $1
