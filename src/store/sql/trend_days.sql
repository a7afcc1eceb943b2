-- store::consumption: usage of some ranges of days, in their order
SELECT day_begins(p.first, t.time_zone) AS starts, day_begins(p.last + 1, t.time_zone) AS ends, u.total_bytes::text AS bytes,
       round(u.total_bytes / 1073741824, 9)::float8 AS gigabytes, round(u.cost, 10)::float8 AS cost, u.sims
FROM tenants t
CROSS JOIN unnest(/* firsts */ $2::date[], /* lasts */ $3::date[]) WITH ORDINALITY AS p (first, last, n)
CROSS JOIN LATERAL usage_of_days(t.id, p.first, p.last, /* iccids */ $4, /* networks */ $5) AS u
WHERE t.id = /* tenant */ $1
ORDER BY p.n
