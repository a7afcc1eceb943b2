-- store::pools: pools of a tenant, or one of them, with what they used in a period: the one of a month, or without one the present one
WITH chosen AS (
    SELECT p.*, t.time_zone, row_number() OVER (
               ORDER BY CASE WHEN /* field */ $5 <> 'name' THEN
                            CASE WHEN /* descending */ $6 THEN -1 ELSE 1 END
                            * CASE WHEN $5 = 'usedBytes' THEN p.used ELSE p.used / p.limit_bytes END END,
                        CASE WHEN $5 = 'name' AND $6 THEN p.name END DESC, p.name, p.id) AS place
    FROM pools_in_period(/* tenant */ $1, /* month */ $2, /* at */ $3) p JOIN tenants t ON t.id = $1
    WHERE /* pool */ $4::integer IS NULL OR p.id = $4
    ORDER BY place LIMIT /* limit */ $7 OFFSET /* offset */ $8
), bounds AS (
    SELECT c.*, first_moment(c.first_day, c.time_zone) AS starts, first_moment(c.next_day, c.time_zone) AS ends FROM chosen c
)
SELECT b.id, b.name, b.limit_bytes, b.cycle_day, b.created_at, b.updated_at, to_char(b.period_month, 'YYYY-MM') AS period,
       b.first_day, b.next_day, b.starts, b.ends, b.used::text AS used, greatest(b.limit_bytes - b.used, 0)::text AS remaining,
       trim_scale(round(b.used * 100 / b.limit_bytes, 2))::text AS percent,
       -- As the period so far; of one that has hardly begun nothing can be said.
       CASE WHEN $3 >= b.ends THEN b.used
            WHEN ($3 - b.starts) >= (b.ends - b.starts) * 0.02
            THEN round(b.used * extract(epoch FROM b.ends - b.starts) / extract(epoch FROM $3 - b.starts)) END::text AS projected,
       CASE WHEN $3 < b.ends THEN forecast_exhaustion(b.used, b.limit_bytes, b.starts, b.ends, $3, b.time_zone) END AS exhausted_on,
       (SELECT count(*) FROM usage_pool_members m WHERE m.pool_id = b.id AND m.left_on IS NULL) AS members
FROM bounds b ORDER BY b.place
