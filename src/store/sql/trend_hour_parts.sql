-- store::consumption: what usage of consecutive UTC hours is made of: by carrier, by serving network, or as a whole with its directions
WITH parts AS (
    SELECT u.hour, CASE WHEN /* split */ $5::text = 'carrier' THEN u.carrier_id END AS carrier_id,
           CASE WHEN $5 = 'network' THEN u.mccmnc END AS network, sum(u.data_upload_bytes) AS upload,
           sum(u.data_download_bytes) AS download, sum(u.total_bytes) AS total
    FROM hourly_usage u
    WHERE u.tenant_id = /* tenant */ $1 AND u.hour >= /* from */ $2::timestamptz
      AND u.hour < $2 + make_interval(hours => /* hours */ $3)
      AND (/* networks */ $4::text[] IS NULL OR u.mccmnc = ANY ($4))
    GROUP BY 1, 2, 3
)
SELECT (extract(epoch FROM p.hour - $2) / 3600)::integer AS period, coalesce(p.carrier_id, 0) AS carrier_id,
       coalesce(c.name, 'Unknown') AS carrier, coalesce(p.network, '') AS network, p.upload::text, p.download::text, p.total::text
FROM parts p LEFT JOIN carriers c ON c.id = p.carrier_id
