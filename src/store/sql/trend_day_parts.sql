-- store::consumption: what usage of some ranges of days is made of: by carrier, by serving network, or as a whole with its directions
WITH asked AS (
    SELECT p.first, p.last, p.n FROM unnest(/* firsts */ $2::date[], /* lasts */ $3::date[]) WITH ORDINALITY AS p (first, last, n)
), used AS (
    SELECT a.n, u.carrier_id, u.mccmnc, u.data_upload_bytes, u.data_download_bytes, u.total_bytes
    FROM asked a
    JOIN daily_network_usage u ON u.tenant_id = /* tenant */ $1 AND u.usage_date >= a.first AND u.usage_date <= a.last
    WHERE /* iccids */ $4::text[] IS NULL AND (/* networks */ $5::text[] IS NULL OR u.mccmnc = ANY ($5))
    UNION ALL
    SELECT a.n, u.carrier_id, u.mccmnc, u.data_upload_bytes, u.data_download_bytes, u.total_bytes
    FROM asked a
    JOIN sim_daily_usage u ON u.tenant_id = $1 AND u.iccid = ANY ($4) AND u.usage_date >= a.first AND u.usage_date <= a.last
    WHERE $5 IS NULL OR u.mccmnc = ANY ($5)
), parts AS (
    SELECT u.n, CASE WHEN /* split */ $6::text = 'carrier' THEN u.carrier_id END AS carrier_id,
           CASE WHEN $6 = 'network' THEN u.mccmnc END AS network, sum(u.data_upload_bytes) AS upload,
           sum(u.data_download_bytes) AS download, sum(u.total_bytes) AS total
    FROM used u GROUP BY 1, 2, 3
)
SELECT (p.n - 1)::integer AS period, coalesce(p.carrier_id, 0) AS carrier_id, coalesce(c.name, 'Unknown') AS carrier,
       coalesce(p.network, '') AS network, p.upload::text, p.download::text, p.total::text
FROM parts p LEFT JOIN carriers c ON c.id = p.carrier_id
