-- store::consumption: SIMs with a place and usage in a range of days, each under one of the carriers that it used
WITH sets AS MATERIALIZED (
    SELECT * FROM active_sims(/* tenant */ $1, /* first */ $2::date, /* last */ $3::date, /* networks */ $5::text[])
)
SELECT p.sim_id, p.iccid, coalesce(p.device_name, p.iccid) AS name, p.latitude, p.longitude, p.status, used.carrier
FROM provisioned_sims p
JOIN sim_numbers n ON n.tenant_id = p.tenant_id AND n.iccid = p.iccid
CROSS JOIN LATERAL (
    -- The carrier that it has now, if it used it in the range.
    SELECT coalesce(c.name, 'Unknown') AS carrier
    FROM sets s LEFT JOIN carriers c ON c.id = s.carrier_id
    WHERE s.chunk = n.number / 2048 AND get_bit(s.sims, n.number % 2048) = 1
    ORDER BY s.carrier_id <> coalesce(p.carrier_id, 0), s.carrier_id LIMIT 1) AS used
WHERE p.tenant_id = $1 AND p.latitude IS NOT NULL AND p.longitude IS NOT NULL
  AND (/* iccids */ $4::text[] IS NULL OR p.iccid = ANY ($4))
ORDER BY p.iccid LIMIT /* limit */ $6
