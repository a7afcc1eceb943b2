-- store::archive: what the records of a month add up to, by UTC day, as PostgreSQL counts it
SELECT (period_start AT TIME ZONE 'UTC')::date AS day, count(*) AS records, sum(data_upload_bytes)::text AS upload_bytes,
       sum(data_download_bytes)::text AS download_bytes, sum(total_bytes)::text AS total_bytes, sum(sms_count)::text AS sms_count,
       sum(voice_seconds)::text AS voice_seconds, min(period_start) AS first, max(period_start) AS last
FROM usage_exporting
GROUP BY 1 ORDER BY 1
