-- store::pool_members: the ICCID of a member by it or by the id of the SIM
SELECT m.iccid FROM usage_pool_members m
LEFT JOIN provisioned_sims s ON s.iccid = m.iccid AND s.tenant_id = m.tenant_id
WHERE m.tenant_id = /* tenant */ $1 AND m.pool_id = /* pool */ $2 AND m.left_on IS NULL AND (m.iccid = /* ICCID or id */ $3 OR s.sim_id = $3)
