-- store::consumption: usage of a few SIMs in consecutive UTC hours, in their order; from their records, by primary key
WITH bounds AS (
    -- Whole days in any zone in which a SIM may be counted, because what an hour costs is its share of what its day costs.
    SELECT /* from */ $2::timestamptz - interval '26 hours' AS earliest,
           $2 + make_interval(hours => /* hours */ $3 + 26) AS latest
), used AS MATERIALIZED (
    -- What waits for its roll-up is left out, as everywhere else.
    SELECT r.iccid, date_trunc('hour', r.period_start, 'UTC') AS hour,
           (r.period_start AT TIME ZONE z.zone)::date AS usage_date, coalesce(r.carrier_id, 0) AS carrier_id,
           coalesce(r.rate_plan_id, 0) AS rate_plan_id, coalesce(r.mccmnc, '') AS mccmnc, coalesce(r.cycle_id, '') AS cycle_id,
           sum(r.total_bytes) AS total_bytes,
           (sum(r.data_upload_bytes), sum(r.data_download_bytes), sum(r.total_bytes), sum(r.sms_count), sum(r.voice_seconds))
               <> (0, 0, 0, 0, 0) AS active
    FROM bounds b
    CROSS JOIN (SELECT i.iccid, rollup_zone(/* tenant */ $1, i.iccid) AS zone
                FROM unnest(/* iccids */ $4::text[]) AS i (iccid)) AS z
    JOIN usage_records r ON r.iccid = z.iccid AND r.period_start >= b.earliest AND r.period_start < b.latest
    WHERE r.tenant_id = $1 AND (/* networks */ $5::text[] IS NULL OR r.mccmnc = ANY ($5))
      AND NOT EXISTS (SELECT FROM rollup_markers m WHERE m.write_id = r.write_id)
    GROUP BY 1, 2, 3, 4, 5, 6, 7
), shares AS (
    SELECT u.*, CASE WHEN sum(u.total_bytes) OVER day = 0 THEN 1.0 / count(*) OVER day
                     ELSE u.total_bytes / sum(u.total_bytes) OVER day END AS share
    FROM used u
    WINDOW day AS (PARTITION BY u.iccid, u.usage_date, u.carrier_id, u.rate_plan_id, u.mccmnc, u.cycle_id)
), sums AS (
    SELECT s.hour, sum(s.total_bytes) AS total_bytes, sum(s.share * d.cost) AS cost,
           count(DISTINCT s.iccid) FILTER (WHERE s.active) AS sims
    FROM shares s
    LEFT JOIN sim_daily_usage d ON d.tenant_id = $1 AND d.iccid = s.iccid AND d.usage_date = s.usage_date
        AND d.carrier_id = s.carrier_id AND d.rate_plan_id = s.rate_plan_id AND d.mccmnc = s.mccmnc AND d.cycle_id = s.cycle_id
    GROUP BY s.hour
)
SELECT h.hour AS starts, h.hour + interval '1 hour' AS ends, coalesce(s.total_bytes, 0)::text AS bytes,
       round(coalesce(s.total_bytes, 0) / 1073741824, 9)::float8 AS gigabytes, round(coalesce(s.cost, 0), 10)::float8 AS cost,
       coalesce(s.sims, 0) AS sims
FROM (SELECT $2 + make_interval(hours => n) AS hour FROM generate_series(0, $3 - 1) AS n) AS h
LEFT JOIN sums s USING (hour)
ORDER BY h.hour
