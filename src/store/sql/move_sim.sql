-- store::sims: from a moment on a SIM belongs to a tenant, carrier and plan, whatever was noted for later moments before
-- The first note of a SIM stays: who had it in the beginning keeps what it sent. Returns nothing for an unknown ICCID, and
-- plan_known false when the plan is not one of the tenant's.
WITH given AS (
    SELECT s.iccid, s.sim_id, coalesce(t.id, s.tenant_id) AS tenant_id, coalesce(c.id, s.carrier_id) AS carrier_id,
           -- A plan is its tenant's own: who changes hands without a new plan has none.
           CASE WHEN /* plan */ $4::text IS NOT NULL THEN p.id WHEN coalesce(t.id, s.tenant_id) = s.tenant_id
                THEN s.rate_plan_id END AS rate_plan_id,
           $4::text IS NULL OR p.id IS NOT NULL AS plan_known
    FROM provisioned_sims s
    LEFT JOIN tenants t ON t.id = /* tenant */ $2
    LEFT JOIN carriers c ON c.name = /* carrier */ $3
    LEFT JOIN rate_plans p ON p.tenant_id = coalesce(t.id, s.tenant_id) AND p.name = $4
    WHERE s.iccid = /* iccid */ $1
), forgotten AS (
    DELETE FROM sim_ownership o USING given
    WHERE o.iccid = given.iccid AND o.valid_from > /* from */ $5 AND o.valid_from <> '-infinity' AND given.plan_known
), noted AS (
    INSERT INTO sim_ownership (iccid, valid_from, tenant_id, sim_id, carrier_id, rate_plan_id)
    SELECT iccid, $5, tenant_id, sim_id, carrier_id, rate_plan_id FROM given WHERE plan_known
    ON CONFLICT ON CONSTRAINT sim_ownership_pk DO UPDATE SET
        tenant_id = excluded.tenant_id, carrier_id = excluded.carrier_id, rate_plan_id = excluded.rate_plan_id
), changed AS (
    UPDATE provisioned_sims s
    SET tenant_id = given.tenant_id, carrier_id = given.carrier_id, rate_plan_id = given.rate_plan_id, updated_at = now()
    FROM given WHERE s.iccid = given.iccid AND given.plan_known
)
SELECT plan_known FROM given
