-- store::credentials: the tenant of this name
SELECT id FROM tenants WHERE name = $1
