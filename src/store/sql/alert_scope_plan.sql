-- store::alerts: a rate plan of a tenant by its name
SELECT p.id FROM rate_plans p WHERE p.tenant_id = $1 AND p.name = $2
