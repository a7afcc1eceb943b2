-- store::consumption: usage of consecutive UTC hours, in their order
WITH bounds AS (
    -- Whole local days, because what an hour costs is its share of what its day costs.
    SELECT t.time_zone, b.first_day, b.last_day, date_trunc('hour', day_begins(b.first_day, t.time_zone), 'UTC') AS earliest,
           day_begins(b.last_day + 1, t.time_zone) AS latest
    FROM tenants t
    CROSS JOIN LATERAL (
        SELECT (/* from */ $2::timestamptz AT TIME ZONE t.time_zone)::date AS first_day,
               (($2 + make_interval(hours => /* hours */ $3 - 1)) AT TIME ZONE t.time_zone)::date AS last_day) AS b
    WHERE t.id = /* tenant */ $1
), used AS MATERIALIZED (
    SELECT u.hour, u.carrier_id, u.mccmnc, u.total_bytes, (u.hour AT TIME ZONE b.time_zone)::date AS usage_date
    FROM bounds b
    JOIN hourly_usage u ON u.tenant_id = $1 AND u.hour >= b.earliest AND u.hour < b.latest
    WHERE /* networks */ $4::text[] IS NULL OR u.mccmnc = ANY ($4)
), shares AS (
    -- Where corrections left nothing of a day's volume, its hours share what it costs evenly.
    SELECT u.*, CASE WHEN sum(u.total_bytes) OVER day = 0 THEN 1.0 / count(*) OVER day
                     ELSE u.total_bytes / sum(u.total_bytes) OVER day END AS share
    FROM used u WINDOW day AS (PARTITION BY u.usage_date, u.carrier_id, u.mccmnc)
), sums AS (
    SELECT s.hour, sum(s.total_bytes) AS total_bytes, sum(s.share * d.cost) AS cost
    FROM shares s
    LEFT JOIN daily_network_usage d ON d.tenant_id = $1 AND d.usage_date = s.usage_date AND d.carrier_id = s.carrier_id
                                   AND d.mccmnc = s.mccmnc
    GROUP BY s.hour
), sims AS (
    SELECT united.hour, sum(bit_count(united.sims))::bigint AS sims
    FROM (SELECT a.hour, bit_or(a.sims) AS sims FROM hourly_active_sims a
          WHERE a.tenant_id = $1 AND a.hour >= $2 AND a.hour < $2 + make_interval(hours => $3)
            AND ($4 IS NULL OR a.mccmnc = ANY ($4))
          GROUP BY a.hour, a.chunk) AS united
    GROUP BY united.hour
)
SELECT h.hour AS starts, h.hour + interval '1 hour' AS ends, coalesce(s.total_bytes, 0)::text AS bytes,
       round(coalesce(s.total_bytes, 0) / 1073741824, 9)::float8 AS gigabytes, round(coalesce(s.cost, 0), 10)::float8 AS cost,
       coalesce(a.sims, 0) AS sims
FROM (SELECT $2 + make_interval(hours => n) AS hour FROM generate_series(0, $3 - 1) AS n) AS h
LEFT JOIN sums s USING (hour)
LEFT JOIN sims a USING (hour)
ORDER BY h.hour
