-- store::sims: notes from when on tenant, carrier and plan of SIMs count, where they differ from what counted until now
-- A clock that was set back must not date a change before the one that it follows.
-- The first row of a SIM counts from the beginning of time: it owns what was received before it was provisioned.
INSERT INTO sim_ownership (iccid, valid_from, tenant_id, sim_id, carrier_id, rate_plan_id)
SELECT s.iccid, CASE WHEN newest.iccid IS NULL THEN '-infinity' ELSE greatest($2, newest.valid_from) END, s.tenant_id, s.sim_id, s.carrier_id,
       s.rate_plan_id
FROM provisioned_sims s
LEFT JOIN LATERAL (
    SELECT o.* FROM sim_ownership o WHERE o.iccid = s.iccid ORDER BY o.valid_from DESC LIMIT 1
) AS newest ON true
WHERE s.iccid = ANY ($1)
  AND (newest.iccid IS NULL
       OR (newest.tenant_id, newest.carrier_id, newest.rate_plan_id)
          IS DISTINCT FROM (s.tenant_id, s.carrier_id, s.rate_plan_id))
ON CONFLICT ON CONSTRAINT sim_ownership_pk DO UPDATE SET
    tenant_id = excluded.tenant_id, carrier_id = excluded.carrier_id, rate_plan_id = excluded.rate_plan_id
