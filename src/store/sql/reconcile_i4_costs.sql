-- store::reconcile I4: days of SIMs cost what their plan says, its included volume used up in the order of the days
WITH ordered AS (
    SELECT s.*, p.included_bytes, p.price_per_mb,
           sum(s.total_bytes) OVER (PARTITION BY s.tenant_id, s.iccid, s.cycle_id, s.rate_plan_id
                                    ORDER BY s.usage_date, s.carrier_id, s.mccmnc) AS bytes_after
    FROM sim_daily_usage s LEFT JOIN rate_plans p ON p.id = s.rate_plan_id
    -- By tenant, because that is how the index begins: one SIM is found at once.
    WHERE s.tenant_id IN (SELECT t.id FROM tenants t) AND s.iccid > /* after ICCID */ $1 AND s.iccid <= /* up to ICCID */ $2
), priced AS (
    SELECT o.*, CASE WHEN included_bytes > 0
                     THEN (greatest(bytes_after - included_bytes, 0) - greatest(bytes_after - total_bytes - included_bytes, 0))
                     ELSE total_bytes END * coalesce(price_per_byte(price_per_mb), 0) AS due
    FROM ordered o
), allowances AS (
    SELECT tenant_id, iccid, rate_plan_id, cycle_id, sum(total_bytes) AS total, sum(correction_count) AS corrections
    FROM ordered WHERE included_bytes > 0 GROUP BY tenant_id, iccid, rate_plan_id, cycle_id
), held AS (
    SELECT * FROM sim_allowances WHERE iccid > $1 AND iccid <= $2
)
SELECT format('tenant %s SIM %s day %s plan %s network %s cycle %s: costs %s, should cost %s',
              tenant_id, iccid, usage_date, rate_plan_id, mccmnc, cycle_id, cost, due) AS violation
FROM priced WHERE cost IS DISTINCT FROM due
UNION ALL
SELECT format('tenant %s SIM %s plan %s cycle %s: sim_allowances has %s bytes, its days have %s',
              tenant_id, iccid, rate_plan_id, cycle_id, h.total_bytes, a.total)
FROM allowances a FULL JOIN held h USING (tenant_id, iccid, rate_plan_id, cycle_id)
WHERE (h.total_bytes, h.correction_count) IS DISTINCT FROM (a.total, a.corrections)
LIMIT 1000
