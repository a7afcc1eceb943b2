-- store::sim_lists: a page of SIMs by ICCID
-- Texts that are not stated are empty: pages that search in them take no null.
SELECT s.sim_id, s.iccid, coalesce(s.msisdn, '') AS msisdn, s.status
FROM provisioned_sims s
WHERE s.tenant_id = /* tenant */ $1 AND s.iccid > /* after */ $2
ORDER BY s.iccid LIMIT /* at most */ $3
