-- store::consumption: the same of a few SIMs, from their records
WITH parts AS (
    SELECT date_trunc('hour', r.period_start, 'UTC') AS hour,
           CASE WHEN /* split */ $6::text = 'carrier' THEN coalesce(r.carrier_id, 0) END AS carrier_id,
           CASE WHEN $6 = 'network' THEN coalesce(r.mccmnc, '') END AS network, sum(r.data_upload_bytes) AS upload,
           sum(r.data_download_bytes) AS download, sum(r.total_bytes) AS total
    FROM usage_records r
    WHERE r.tenant_id = /* tenant */ $1 AND r.iccid = ANY (/* iccids */ $4::text[]) AND r.period_start >= /* from */ $2::timestamptz
      AND r.period_start < $2 + make_interval(hours => /* hours */ $3)
      AND (/* networks */ $5::text[] IS NULL OR r.mccmnc = ANY ($5))
      -- What waits for its roll-up is left out, as everywhere else.
      AND NOT EXISTS (SELECT FROM rollup_markers m WHERE m.write_id = r.write_id)
    GROUP BY 1, 2, 3
)
SELECT (extract(epoch FROM p.hour - $2) / 3600)::integer AS period, coalesce(p.carrier_id, 0) AS carrier_id,
       coalesce(c.name, 'Unknown') AS carrier, coalesce(p.network, '') AS network, p.upload::text, p.download::text, p.total::text
FROM parts p LEFT JOIN carriers c ON c.id = p.carrier_id
