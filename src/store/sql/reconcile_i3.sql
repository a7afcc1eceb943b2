-- store::reconcile I3: hours = their records, but for those whose marker stands
WITH parts AS (
    -- By what decides whether a SIM is active: each of its rows of a day counts for itself.
    SELECT r.tenant_id, date_trunc('hour', r.period_start, 'UTC') AS hour, coalesce(r.carrier_id, 0) AS carrier_id,
           coalesce(r.mccmnc, '') AS mccmnc, r.iccid, sum(r.data_upload_bytes) AS upload, sum(r.data_download_bytes) AS download,
           sum(r.total_bytes) AS total, sum(r.sms_count) AS sms, sum(r.voice_seconds) AS voice, count(*) AS records
    FROM usage_records r
    JOIN tenants t ON t.id = r.tenant_id
    LEFT JOIN zone_changes z ON z.tenant_id = r.tenant_id
    WHERE r.period_start >= /* from */ $1 AND r.period_start < /* before */ $2
      AND NOT EXISTS (SELECT FROM rollup_markers m WHERE m.write_id = r.write_id)
    GROUP BY 1, 2, 3, 4, 5, r.rate_plan_id, r.cycle_id,
             (r.period_start AT TIME ZONE CASE WHEN r.iccid > z.done_iccid THEN z.former_zone ELSE t.time_zone END)::date
), counted AS (
    SELECT tenant_id, hour, carrier_id, mccmnc, sum(upload) AS upload, sum(download) AS download, sum(total) AS total,
           sum(sms) AS sms, sum(voice) AS voice, sum(records) AS records,
           count(DISTINCT iccid) FILTER (WHERE (upload, download, total, sms, voice) <> (0, 0, 0, 0, 0)) AS sims
    FROM parts GROUP BY tenant_id, hour, carrier_id, mccmnc
), held AS (
    SELECT * FROM hourly_usage WHERE hour >= $1 AND hour < $2
), sets AS (
    SELECT tenant_id, hour, carrier_id, mccmnc, sum(bit_count(sims)) AS sims
    FROM hourly_active_sims WHERE hour >= $1 AND hour < $2 GROUP BY tenant_id, hour, carrier_id, mccmnc
)
SELECT format('tenant %s hour %s carrier %s network %s: hourly_usage has %s bytes in %s records of %s SIMs (set of %s), the records have %s bytes in %s records of %s SIMs',
              tenant_id, hour, carrier_id, mccmnc, h.total_bytes, h.record_count, h.active_sim_count, s.sims, c.total,
              c.records, c.sims) AS violation
FROM counted c
FULL JOIN held h USING (tenant_id, hour, carrier_id, mccmnc)
FULL JOIN sets s USING (tenant_id, hour, carrier_id, mccmnc)
WHERE hour >= (SELECT raw_floor FROM inventory_version)
  AND ((h.data_upload_bytes, h.data_download_bytes, h.total_bytes, h.sms_count, h.voice_seconds, h.record_count,
        h.active_sim_count)
       IS DISTINCT FROM (c.upload, c.download, c.total, c.sms, c.voice, c.records, c.sims)
       OR coalesce(s.sims, 0) IS DISTINCT FROM h.active_sim_count)
LIMIT 1000
