-- store::sims: gives records the owner, carrier and plan that count since a change at $2, where they were stored with others
-- A period may start ahead of the clock, and a record may be stored while the import waits for the inventory lock.
WITH due AS (
    SELECT r.iccid, r.period_start, r.id, o.tenant_id, o.carrier_id, o.rate_plan_id
    FROM usage_records r
    CROSS JOIN LATERAL (
        SELECT s.tenant_id, s.carrier_id, s.rate_plan_id FROM sim_ownership s
        WHERE s.iccid = r.iccid AND s.valid_from <= r.period_start
        ORDER BY s.valid_from DESC LIMIT 1) AS o
    WHERE r.iccid = ANY (/* iccids */ $1) AND r.period_start >= /* now */ $2 AND r.sim_id IS NOT NULL
      AND (r.tenant_id, r.carrier_id, r.rate_plan_id) IS DISTINCT FROM (o.tenant_id, o.carrier_id, o.rate_plan_id)
), moved AS (
    UPDATE usage_records r
    SET tenant_id = due.tenant_id, carrier_id = due.carrier_id, rate_plan_id = due.rate_plan_id
    FROM due WHERE r.iccid = due.iccid AND r.period_start = due.period_start AND r.id = due.id
    RETURNING r.iccid, r.period_start
)
INSERT INTO rollup_markers (iccid, period_from, period_to, record_count)
SELECT iccid, min(period_start), max(period_start), count(*) FROM moved GROUP BY iccid
