-- store::reconcile I4: days of SIMs = their records, but for those whose marker stands
WITH counted AS (
    SELECT r.tenant_id, r.iccid,
           (r.period_start AT TIME ZONE CASE WHEN r.iccid > z.done_iccid THEN z.former_zone ELSE t.time_zone END)::date
               AS usage_date,
           coalesce(r.carrier_id, 0) AS carrier_id, coalesce(r.rate_plan_id, 0) AS rate_plan_id,
           coalesce(r.mccmnc, '') AS mccmnc, coalesce(r.cycle_id, '') AS cycle_id, sum(r.data_upload_bytes) AS upload,
           sum(r.data_download_bytes) AS download, sum(r.total_bytes) AS total, sum(r.sms_count) AS sms,
           sum(r.voice_seconds) AS voice, count(*) AS records, count(r.corrects) AS corrections, max(r.period_end) AS latest
    FROM usage_records r
    JOIN tenants t ON t.id = r.tenant_id
    LEFT JOIN zone_changes z ON z.tenant_id = r.tenant_id
    WHERE r.iccid > /* after ICCID */ $1 AND r.iccid <= /* up to ICCID */ $2
      AND NOT EXISTS (SELECT FROM rollup_markers m WHERE m.write_id = r.write_id)
    GROUP BY 1, 2, 3, 4, 5, 6, 7
), held AS (
    -- By tenant, because that is how the index begins: one SIM is found at once.
    SELECT * FROM sim_daily_usage WHERE tenant_id IN (SELECT id FROM tenants) AND iccid > $1 AND iccid <= $2
)
SELECT format('tenant %s SIM %s day %s carrier %s plan %s network %s cycle %s: sim_daily_usage has %s bytes in %s records, latest %s, the records have %s bytes in %s records, latest %s',
              tenant_id, iccid, usage_date, carrier_id, rate_plan_id, mccmnc, cycle_id, h.total_bytes, h.record_count,
              h.latest_event_at, c.total, c.records, c.latest) AS violation
FROM counted c
FULL JOIN held h USING (tenant_id, iccid, usage_date, carrier_id, rate_plan_id, mccmnc, cycle_id)
WHERE (h.data_upload_bytes, h.data_download_bytes, h.total_bytes, h.sms_count, h.voice_seconds, h.record_count,
       h.correction_count, h.latest_event_at)
      IS DISTINCT FROM (c.upload, c.download, c.total, c.sms, c.voice, c.records, c.corrections, c.latest)
  -- Only days of which every record is kept, whatever the zone was in which they were counted: somewhere on Earth the day of
  -- the floor begins before it.
  AND usage_date > (SELECT (raw_floor AT TIME ZONE 'UTC')::date FROM inventory_version)
LIMIT 1000
