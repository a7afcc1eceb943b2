-- store::reconcile I2: keys and records match one to one
WITH counted AS (
    SELECT key_tenant_id AS tenant_id, iccid, record_id, count(*) AS records, min(period_start) AS period_start
    FROM usage_records
    WHERE iccid > /* after ICCID */ $1 AND iccid <= /* up to ICCID */ $2
    GROUP BY key_tenant_id, iccid, record_id
), held AS (
    -- Keys outlive their records. By tenant, because that is how the index begins: one SIM is found at once.
    SELECT * FROM record_keys
    WHERE tenant_id IN (SELECT id FROM tenants) AND iccid > $1 AND iccid <= $2
      AND period_start >= (SELECT raw_floor FROM inventory_version)
)
SELECT format('tenant %s SIM %s record %s: %s records, %s', tenant_id, iccid, record_id, coalesce(r.records, 0),
              CASE WHEN k.write_id IS NULL THEN 'no key' ELSE 'key of ' || k.period_start END) AS violation
FROM counted r FULL JOIN held k USING (tenant_id, iccid, record_id)
WHERE r.records IS DISTINCT FROM 1 OR k.write_id IS NULL OR k.period_start <> r.period_start
LIMIT 1000
