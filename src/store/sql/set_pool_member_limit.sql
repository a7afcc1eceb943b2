-- store::pool_members: sets or takes away the limit of a member
UPDATE usage_pool_members m SET limit_bytes = /* limit */ $4
WHERE m.tenant_id = /* tenant */ $1 AND m.pool_id = /* pool */ $2 AND m.iccid = /* ICCID */ $3 AND m.left_on IS NULL
