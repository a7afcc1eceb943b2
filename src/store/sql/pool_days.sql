-- store::pools: what a pool used on each day of a period, days without usage too
SELECT day::date AS day, coalesce(d.total_bytes, 0)::text AS used
FROM generate_series(/* first */ $3::date::timestamp, /* before */ $4::date::timestamp - interval '1 day', interval '1 day') AS day
LEFT JOIN usage_pool_days d ON d.tenant_id = /* tenant */ $1 AND d.pool_id = /* pool */ $2 AND d.usage_date = day::date
ORDER BY day
