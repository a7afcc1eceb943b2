-- store::pool_members: what a list shows of members in a period, in the order of the ICCIDs that are asked for
WITH page AS (
    SELECT asked.iccid, asked.place FROM unnest(/* iccids */ $5::text[]) WITH ORDINALITY AS asked (iccid, place)
), days AS (
    -- A SIM that left and came back has several rows; its limit is that of the newest.
    SELECT page.iccid, page.place, max(m.joined_on) AS joined_on,
           CASE WHEN bool_and(m.left_on IS NOT NULL) THEN max(m.left_on) END AS left_on,
           (array_agg(m.limit_bytes ORDER BY m.joined_on DESC))[1] AS limit_bytes,
           (SELECT coalesce(sum(d.total_bytes), 0) FROM usage_pool_members o
            JOIN sim_daily_usage d ON d.tenant_id = o.tenant_id AND d.iccid = o.iccid AND d.usage_date >= o.joined_on
                                  AND d.usage_date < coalesce(o.left_on, 'infinity')
            WHERE o.pool_id = /* pool */ $2 AND o.iccid = page.iccid AND d.tenant_id = /* tenant */ $1
              AND d.usage_date >= /* first */ $3 AND d.usage_date < /* before */ $4) AS used
    FROM page
    JOIN usage_pool_members m ON m.tenant_id = $1 AND m.pool_id = $2 AND m.iccid = page.iccid
                             AND m.joined_on < $4 AND coalesce(m.left_on, 'infinity') > $3
    GROUP BY page.iccid, page.place
), pool AS (
    SELECT coalesce(sum(d.total_bytes), 0) AS used FROM usage_pool_days d
    WHERE d.tenant_id = $1 AND d.pool_id = $2 AND d.usage_date >= $3 AND d.usage_date < $4
)
SELECT s.sim_id, d.iccid, s.msisdn, s.device_name, d.joined_on, d.left_on, d.limit_bytes, d.used::text AS used,
       CASE WHEN pool.used > 0 THEN trim_scale(round(d.used * 100 / pool.used, 2)) ELSE 0 END::text AS share,
       CASE WHEN d.limit_bytes > 0 THEN trim_scale(round(d.used * 100 / d.limit_bytes, 2))::text END AS percent
FROM days d CROSS JOIN pool
LEFT JOIN provisioned_sims s ON s.iccid = d.iccid AND s.tenant_id = $1
ORDER BY d.place
