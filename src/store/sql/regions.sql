-- store::consumption: usage of a range of days by place, the largest first; SIMs that name none are placed by their coordinates
WITH used AS (
    SELECT u.iccid, sum(u.total_bytes) AS total_bytes
    FROM sim_daily_usage u
    WHERE u.tenant_id = /* tenant */ $1 AND u.usage_date >= /* first */ $2::date AND u.usage_date <= /* last */ $3::date
      AND (/* iccids */ $4::text[] IS NULL OR u.iccid = ANY ($4)) AND (/* networks */ $5::text[] IS NULL OR u.mccmnc = ANY ($5))
    GROUP BY u.iccid
), places AS (
    SELECT coalesce(nullif(p.location_name, ''), format('%s, %s', round(p.latitude::numeric, 2), round(p.longitude::numeric, 2)))
               AS place,
           round(avg(p.latitude)::numeric, 6)::float8 AS latitude, round(avg(p.longitude)::numeric, 6)::float8 AS longitude,
           sum(u.total_bytes) AS total_bytes, count(*) AS sims
    FROM used u JOIN provisioned_sims p ON p.iccid = u.iccid
    WHERE p.tenant_id = $1 AND p.latitude IS NOT NULL AND p.longitude IS NOT NULL
    GROUP BY 1
)
SELECT 'place_' || substr(md5(l.place), 1, 16) AS id, l.place, l.latitude, l.longitude, l.total_bytes::text AS bytes,
       round(l.total_bytes / 1048576, 6)::float8 AS megabytes, round(l.total_bytes / 1073741824, 9)::float8 AS gigabytes, l.sims
FROM places l
ORDER BY l.total_bytes DESC, l.place LIMIT /* limit */ $6
