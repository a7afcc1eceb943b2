-- store::sim_usage: a SIM's days or months from its daily sums, oldest first, empty ones too
-- A month at an edge counts the days of the range alone, and its bounds say so.
WITH periods AS (
    SELECT p::date AS period, greatest(p::date, $3) AS first,
           least((p + ('1 ' || $5)::interval)::date, $4 + 1) AS next
    FROM generate_series(date_trunc(/* day or month */ $5, /* first day */ $3::timestamp), /* last day */ $4::timestamp,
                         ('1 ' || $5)::interval) AS p
), sums AS (
    SELECT date_trunc($5, d.usage_date::timestamp)::date AS period, sum(d.data_upload_bytes) AS upload,
           sum(d.data_download_bytes) AS download, sum(d.total_bytes) AS total, sum(d.sms_count) AS sms, sum(d.voice_seconds) AS voice
    FROM sim_daily_usage d
    WHERE d.tenant_id = /* tenant */ $1 AND d.iccid = /* iccid */ $2 AND d.usage_date BETWEEN $3 AND $4
    GROUP BY 1
), bounds AS (
    -- A midnight that happens twice is read as the second one, and the day begins with the first.
    SELECT p.period,
           CASE WHEN (f.midnight - interval '1 hour') AT TIME ZONE $6 >= p.first THEN f.midnight - interval '1 hour'
                ELSE f.midnight END AS starts,
           CASE WHEN (n.midnight - interval '1 hour') AT TIME ZONE $6 >= p.next THEN n.midnight - interval '1 hour'
                ELSE n.midnight END AS ends
    FROM periods p
    CROSS JOIN LATERAL (SELECT p.first::timestamp AT TIME ZONE /* zone */ $6 AS midnight) AS f
    CROSS JOIN LATERAL (SELECT p.next::timestamp AT TIME ZONE $6 AS midnight) AS n
)
SELECT to_char(b.period, 'YYYY-MM-DD') AS period, b.starts, b.ends, coalesce(s.upload, 0)::text AS upload,
       coalesce(s.download, 0)::text AS download, coalesce(s.total, 0)::text AS total, coalesce(s.sms, 0)::text AS sms,
       coalesce(s.voice, 0)::text AS voice
FROM bounds b LEFT JOIN sums s ON s.period = b.period
ORDER BY b.period
