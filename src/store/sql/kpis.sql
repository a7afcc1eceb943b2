-- store::consumption: figures of a range of days, against the range before it, and projected to its end
WITH now AS (
    SELECT * FROM usage_of_days(/* tenant */ $1, /* first */ $2::date, /* last */ $3::date, /* iccids */ $6::text[],
                                /* networks */ $7::text[])
), before AS (
    SELECT * FROM usage_of_days($1, $2 - ($3 - $2 + 1), $2 - 1, $6, $7)
), period AS (
    -- Days of the whole period, and those of it that have begun.
    SELECT (/* ends */ $4::date - $2 + 1)::numeric AS days, (least($3, /* today */ $5::date) - $2 + 1)::numeric AS begun
), whole_before AS (
    SELECT u.cost FROM usage_of_days($1, $2 - ($4 - $2 + 1), $2 - 1, $6, $7) u
), figures AS (
    SELECT n.total_bytes, n.cost, n.sims, coalesce(round(n.total_bytes / nullif(n.sims, 0)), 0) AS average,
           CASE WHEN p.begun > 0 AND p.begun < p.days THEN n.cost * p.days / p.begun ELSE n.cost END AS estimate,
           b.total_bytes AS total_bytes_before, b.cost AS cost_before, b.sims AS sims_before,
           coalesce(round(b.total_bytes / nullif(b.sims, 0)), 0) AS average_before, w.cost AS estimate_before
    FROM now n, before b, period p, whole_before w
)
SELECT f.total_bytes::text AS bytes, round(f.total_bytes / 1073741824, 3)::float8 AS gigabytes,
       round(f.cost, 10)::float8 AS cost, f.sims, f.average::text AS average,
       round(f.average / 1073741824, 3)::float8 AS average_gigabytes, round(f.estimate, 2)::float8 AS estimate,
       coalesce(round((f.total_bytes - f.total_bytes_before) * 100 / nullif(f.total_bytes_before, 0), 1), 0)::float8 AS bytes_trend,
       coalesce(round((f.cost - f.cost_before) * 100 / nullif(f.cost_before, 0), 1), 0)::float8 AS cost_trend,
       coalesce(round((f.sims - f.sims_before) * 100.0 / nullif(f.sims_before, 0), 1), 0)::float8 AS sims_trend,
       coalesce(round((f.average - f.average_before) * 100 / nullif(f.average_before, 0), 1), 0)::float8 AS average_trend,
       coalesce(round((f.estimate - f.estimate_before) * 100 / nullif(f.estimate_before, 0), 1), 0)::float8 AS estimate_trend
FROM figures f
