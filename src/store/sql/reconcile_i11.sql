-- store::reconcile I11: the days of pools = the days of their members
WITH counted AS (
    SELECT m.pool_id, m.tenant_id, d.usage_date, sum(d.total_bytes) AS total
    FROM usage_pool_members m
    JOIN sim_daily_usage d ON d.tenant_id = m.tenant_id AND d.iccid = m.iccid AND d.usage_date >= m.joined_on
                          AND d.usage_date < coalesce(m.left_on, 'infinity')
    WHERE d.usage_date >= /* from */ $1 AND d.usage_date < /* before */ $2
    GROUP BY m.pool_id, m.tenant_id, d.usage_date
), held AS (
    SELECT d.pool_id, d.tenant_id, d.usage_date, d.total_bytes AS total FROM usage_pool_days d
    WHERE d.usage_date >= $1 AND d.usage_date < $2
)
SELECT format('tenant %s pool %s day %s: usage_pool_days has %s bytes; its members have %s', tenant_id, pool_id, usage_date,
              coalesce(h.total, 0), coalesce(c.total, 0)) AS violation
FROM counted c FULL JOIN held h USING (pool_id, tenant_id, usage_date)
WHERE coalesce(h.total, 0) <> coalesce(c.total, 0)
LIMIT 1000
