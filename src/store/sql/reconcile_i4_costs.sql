-- store::reconcile I4: days of SIMs cost what their plan says, its included volume used up in the order of the days
WITH ordered AS (
    SELECT s.*, p.included_bytes, p.price_per_mb,
           sum(s.total_bytes) OVER (PARTITION BY s.tenant_id, s.iccid, s.cycle_id, s.rate_plan_id
                                    ORDER BY s.usage_date, s.carrier_id, s.mccmnc) AS bytes_after
    FROM sim_daily_usage s LEFT JOIN rate_plans p ON p.id = s.rate_plan_id
    WHERE s.iccid > /* after ICCID */ $1 AND s.iccid <= /* up to ICCID */ $2
), priced AS (
    SELECT o.*,
           CASE WHEN included_bytes > 0 THEN bytes_after - total_bytes ELSE 0 END AS expected_before,
           CASE WHEN included_bytes > 0
                THEN (greatest(bytes_after - included_bytes, 0) - greatest(bytes_after - total_bytes - included_bytes, 0))
                ELSE total_bytes END * coalesce(price_per_byte(price_per_mb), 0) AS expected_cost
    FROM ordered o
)
SELECT format('tenant %s SIM %s day %s plan %s network %s cycle %s: costs %s after %s bytes, should cost %s after %s bytes',
              tenant_id, iccid, usage_date, rate_plan_id, mccmnc, cycle_id, cost, bytes_before, expected_cost,
              expected_before) AS violation
FROM priced WHERE (cost, bytes_before) IS DISTINCT FROM (expected_cost, expected_before)
LIMIT 1000
