-- store::reconcile I4: days of carriers and networks = the days of their SIMs, distinct SIMs included
WITH counted AS (
    SELECT tenant_id, usage_date, carrier_id, mccmnc, sum(data_upload_bytes) AS upload, sum(data_download_bytes) AS download,
           sum(total_bytes) AS total, sum(sms_count) AS sms, sum(voice_seconds) AS voice, sum(record_count) AS records,
           sum(cost) AS cost,
           count(DISTINCT iccid) FILTER (WHERE (data_upload_bytes, data_download_bytes, total_bytes, sms_count, voice_seconds)
                                               <> (0, 0, 0, 0, 0)) AS sims
    FROM sim_daily_usage WHERE usage_date >= /* from */ $1 AND usage_date < /* before */ $2
    GROUP BY tenant_id, usage_date, carrier_id, mccmnc
), held AS (
    SELECT * FROM daily_network_usage WHERE usage_date >= $1 AND usage_date < $2
), sets AS (
    SELECT tenant_id, usage_date, carrier_id, mccmnc, sum(bit_count(sims)) AS sims
    FROM daily_active_sims WHERE usage_date >= $1 AND usage_date < $2 GROUP BY tenant_id, usage_date, carrier_id, mccmnc
)
SELECT format('tenant %s day %s carrier %s network %s: daily_network_usage has %s bytes, %s SIMs (set of %s), cost %s; its SIMs have %s bytes, %s SIMs, cost %s',
              tenant_id, usage_date, carrier_id, mccmnc, h.total_bytes, h.active_sim_count, s.sims, h.cost, c.total, c.sims,
              c.cost) AS violation
FROM counted c
FULL JOIN held h USING (tenant_id, usage_date, carrier_id, mccmnc)
FULL JOIN sets s USING (tenant_id, usage_date, carrier_id, mccmnc)
WHERE (h.data_upload_bytes, h.data_download_bytes, h.total_bytes, h.sms_count, h.voice_seconds, h.record_count, h.cost,
       h.active_sim_count)
      IS DISTINCT FROM (c.upload, c.download, c.total, c.sms, c.voice, c.records, c.cost, c.sims)
   OR coalesce(s.sims, 0) IS DISTINCT FROM h.active_sim_count
LIMIT 1000
