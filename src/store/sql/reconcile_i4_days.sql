-- store::reconcile I4: daily_usage = its networks, distinct SIMs counted over all of them
WITH counted AS (
    SELECT tenant_id, usage_date, carrier_id, sum(data_upload_bytes) AS upload, sum(data_download_bytes) AS download,
           sum(total_bytes) AS total, sum(sms_count) AS sms, sum(voice_seconds) AS voice, sum(record_count) AS records,
           round(sum(cost), 10) AS cost
    FROM daily_network_usage WHERE usage_date >= /* from */ $1 AND usage_date < /* before */ $2
    GROUP BY tenant_id, usage_date, carrier_id
), held AS (
    SELECT * FROM daily_usage WHERE usage_date >= $1 AND usage_date < $2
), sims AS (
    SELECT tenant_id, usage_date, carrier_id, count(DISTINCT iccid) AS sims
    FROM sim_daily_usage
    WHERE usage_date >= $1 AND usage_date < $2
      AND (data_upload_bytes, data_download_bytes, total_bytes, sms_count, voice_seconds) <> (0, 0, 0, 0, 0)
    GROUP BY tenant_id, usage_date, carrier_id
)
SELECT format('tenant %s day %s carrier %s: daily_usage has %s bytes, %s SIMs, cost %s; its networks have %s bytes, %s SIMs, cost %s',
              tenant_id, usage_date, carrier_id, h.data_bytes, h.active_sim_count, h.cost, c.total, s.sims, c.cost) AS violation
FROM counted c
FULL JOIN held h USING (tenant_id, usage_date, carrier_id)
FULL JOIN sims s USING (tenant_id, usage_date, carrier_id)
WHERE (h.data_upload_bytes, h.data_download_bytes, h.data_bytes, h.sms_count, h.voice_seconds, h.record_count, h.cost,
       h.active_sim_count)
      IS DISTINCT FROM (c.upload, c.download, c.total, c.sms, c.voice, c.records, c.cost, coalesce(s.sims, 0))
LIMIT 1000
