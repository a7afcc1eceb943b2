-- store::sim_usage: a SIM's UTC hours from its records, oldest first, empty hours too
-- Records that no rollup holds yet are left out, so that hours and days show one state.
WITH sums AS (
    SELECT date_trunc('hour', r.period_start, 'UTC') AS hour, sum(r.data_upload_bytes) AS upload,
           sum(r.data_download_bytes) AS download, sum(r.total_bytes) AS total, sum(r.sms_count) AS sms, sum(r.voice_seconds) AS voice
    FROM usage_records r
    WHERE r.iccid = /* iccid */ $2 AND r.tenant_id = /* tenant */ $1 AND r.period_start >= /* first hour */ $3
      AND r.period_start < /* last hour */ $4 + interval '1 hour'
      AND NOT EXISTS (SELECT FROM rollup_markers m WHERE m.write_id = r.write_id)
    GROUP BY 1
)
SELECT to_char(h.hour AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:00:00"Z"') AS period, h.hour AS starts, h.hour + interval '1 hour' AS ends,
       coalesce(s.upload, 0)::text AS upload, coalesce(s.download, 0)::text AS download, coalesce(s.total, 0)::text AS total,
       coalesce(s.sms, 0)::text AS sms, coalesce(s.voice, 0)::text AS voice
FROM generate_series($3, $4, interval '1 hour') AS h (hour)
LEFT JOIN sums s ON s.hour = h.hour
ORDER BY h.hour
