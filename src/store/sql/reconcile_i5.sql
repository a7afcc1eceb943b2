-- store::reconcile I5: months = their days, distinct SIMs counted over all of them
WITH counted AS (
    SELECT tenant_id, date_trunc('month', usage_date)::date AS period_start, carrier_id, sum(data_upload_bytes) AS upload,
           sum(data_download_bytes) AS download, sum(data_bytes) AS total, sum(sms_count) AS sms,
           sum(voice_seconds) AS voice, sum(record_count) AS records, sum(cost) AS cost
    FROM daily_usage WHERE usage_date >= /* from, first of a month */ $1 AND usage_date < /* before, likewise */ $2
    GROUP BY 1, 2, 3
), held AS (
    SELECT * FROM usage_aggregations WHERE period_start >= $1 AND period_start < $2
), sims AS (
    SELECT tenant_id, date_trunc('month', usage_date)::date AS period_start, carrier_id, count(DISTINCT iccid) AS sims
    FROM sim_daily_usage
    WHERE usage_date >= $1 AND usage_date < $2
      AND (data_upload_bytes, data_download_bytes, total_bytes, sms_count, voice_seconds) <> (0, 0, 0, 0, 0)
    GROUP BY 1, 2, 3
), sets AS (
    SELECT tenant_id, month AS period_start, carrier_id, sum(bit_count(sims)) AS sims
    FROM (SELECT tenant_id, month, carrier_id, chunk, bit_or(sims) AS sims FROM monthly_active_sims
          WHERE month >= $1 AND month < $2 GROUP BY tenant_id, month, carrier_id, chunk) AS united
    GROUP BY tenant_id, month, carrier_id
)
SELECT format('tenant %s month %s carrier %s: usage_aggregations has %s bytes, %s SIMs (set of %s), cost %s; its days have %s bytes, %s SIMs, cost %s',
              tenant_id, period_start, carrier_id, h.total_data_bytes, h.active_sim_count, b.sims, h.total_cost, c.total,
              s.sims, c.cost) AS violation
FROM counted c
FULL JOIN held h USING (tenant_id, period_start, carrier_id)
FULL JOIN sims s USING (tenant_id, period_start, carrier_id)
FULL JOIN sets b USING (tenant_id, period_start, carrier_id)
WHERE (h.total_upload_bytes, h.total_download_bytes, h.total_data_bytes, h.sms_count, h.voice_seconds, h.record_count,
       h.total_cost, h.active_sim_count, h.period_end)
      IS DISTINCT FROM (c.upload, c.download, c.total, c.sms, c.voice, c.records, c.cost, coalesce(s.sims, 0),
                        (period_start + interval '1 month' - interval '1 day')::date)
   OR coalesce(b.sims, 0) <> coalesce(s.sims, 0)
LIMIT 1000
