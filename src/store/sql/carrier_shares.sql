-- store::consumption: usage of a range of days by carrier, the largest first, with shares of the whole
WITH used AS MATERIALIZED (
    SELECT * FROM usage_of_carriers(/* tenant */ $1, /* first */ $2::date, /* last */ $3::date, /* iccids */ $4::text[],
                                    /* networks */ $5::text[])
), whole AS (
    -- A SIM that used two carriers is one SIM.
    SELECT w.total_bytes, w.cost, w.sims FROM usage_of_days($1, $2, $3, $4, $5) w
)
SELECT u.carrier_id, coalesce(c.name, 'Unknown') AS name, coalesce(c.mccmnc, '') AS mccmnc, u.sims,
       u.total_bytes::text AS bytes, round(u.total_bytes / 1073741824, 9)::float8 AS gigabytes, round(u.cost, 10)::float8 AS cost,
       coalesce(round(u.sims * 100.0 / nullif(w.sims, 0), 2), 0)::float8 AS sim_percentage,
       coalesce(round(u.cost * 100 / nullif(w.cost, 0), 2), 0)::float8 AS cost_percentage,
       coalesce(round(u.total_bytes * 100 / nullif(w.total_bytes, 0), 2), 0)::float8 AS data_percentage
FROM used u
CROSS JOIN whole w
LEFT JOIN carriers c ON c.id = u.carrier_id
ORDER BY u.total_bytes DESC, u.carrier_id
