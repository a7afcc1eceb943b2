-- store::pool_members: the ICCIDs of SIMs that are named by their ids
SELECT s.sim_id, s.iccid FROM provisioned_sims s WHERE s.tenant_id = /* tenant */ $1 AND s.sim_id = ANY (/* ids */ $2)
