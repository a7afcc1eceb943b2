-- store::sim_usage: what a SIM used in a cycle, by month or, without one, in the current cycle; nothing for an unknown SIM
WITH sim AS (
    SELECT s.sim_id, s.iccid, s.cycle_day, coalesce(s.data_limit_bytes, 0)::numeric AS limit_bytes, t.time_zone
    FROM provisioned_sims s JOIN tenants t ON t.id = s.tenant_id
    WHERE s.tenant_id = /* tenant */ $1 AND (s.sim_id = /* id or ICCID */ $2 OR s.iccid = $2)
), held AS (
    -- Between the end of the current cycle and the next roll-over, the one that will be current.
    SELECT c.* FROM sim JOIN usage_cycles c ON c.sim_id = sim.sim_id AND c.iccid = sim.iccid
    WHERE CASE WHEN /* month */ $3::date IS NULL THEN c.cycle_end > /* now */ $4 AND (c.is_current OR c.cycle_start <= $4)
               ELSE c.cycle_id = to_char($3::date, 'YYYY-MM') END
    ORDER BY c.is_current DESC LIMIT 1
), chain AS (
    SELECT min(c.cycle_start) AS starts, max(c.cycle_end) AS ends, to_date(min(c.cycle_id), 'YYYY-MM') AS first_month,
           to_date(max(c.cycle_id), 'YYYY-MM') AS last_month
    FROM sim JOIN usage_cycles c ON c.sim_id = sim.sim_id AND c.iccid = sim.iccid
), wanted AS (
    -- A cycle that nobody needed yet has the bounds that it would be made with (ensure_cycles).
    SELECT sim.*, to_char(m.month, 'YYYY-MM') AS cycle_id,
           CASE WHEN m.month = (chain.last_month + interval '1 month')::date THEN chain.ends
                ELSE cycle_boundary(m.month, sim.time_zone, sim.cycle_day) END AS cycle_start,
           CASE WHEN m.month = (chain.first_month - interval '1 month')::date THEN chain.starts
                ELSE cycle_boundary((m.month + interval '1 month')::date, sim.time_zone, sim.cycle_day) END AS cycle_end
    FROM sim CROSS JOIN chain
    CROSS JOIN LATERAL (SELECT coalesce($3::date, cycle_month($4, sim.time_zone, sim.cycle_day)) AS month) AS m
), cycle AS (
    SELECT w.sim_id, w.iccid, w.limit_bytes, coalesce(h.cycle_id, w.cycle_id) AS cycle_id,
           coalesce(h.cycle_start, w.cycle_start) AS cycle_start, coalesce(h.cycle_end, w.cycle_end) AS cycle_end,
           coalesce(h.total_upload_bytes, 0) AS upload, coalesce(h.total_download_bytes, 0) AS download,
           coalesce(h.total_bytes, 0) AS total, coalesce(h.last_updated, $4) AS last_updated,
           -- Whoever had the SIM in a part of the cycle used something of it that is nobody else's to see.
           h.cycle_id IS NOT NULL AND EXISTS (
               SELECT FROM sim_ownership o
               WHERE o.iccid = w.iccid AND o.tenant_id <> $1 AND o.valid_from < h.cycle_end
                 AND h.cycle_start < coalesce((SELECT min(n.valid_from) FROM sim_ownership n
                                               WHERE n.iccid = o.iccid AND n.valid_from > o.valid_from), 'infinity')) AS shared
    FROM wanted w LEFT JOIN held h ON true
), own AS (
    SELECT coalesce(sum(d.data_upload_bytes), 0) AS upload, coalesce(sum(d.data_download_bytes), 0) AS download,
           coalesce(sum(d.total_bytes), 0) AS total
    FROM cycle c JOIN sim_daily_usage d ON d.tenant_id = $1 AND d.iccid = c.iccid AND d.cycle_id = c.cycle_id
         -- In any time zone.
         AND d.usage_date BETWEEN (c.cycle_start AT TIME ZONE 'UTC')::date - 1 AND (c.cycle_end AT TIME ZONE 'UTC')::date + 1
    WHERE c.shared
), used AS (
    SELECT c.*, CASE WHEN c.shared THEN own.upload ELSE c.upload END AS used_upload,
           CASE WHEN c.shared THEN own.download ELSE c.download END AS used_download,
           CASE WHEN c.shared THEN own.total ELSE c.total END AS used_total
    FROM cycle c CROSS JOIN own
), units (size, unit) AS (
    VALUES (1::numeric, 'B'), (1024, 'KB'), (1048576, 'MB'), (1073741824, 'GB'), (1099511627776, 'TB'),
           (1125899906842624, 'PB'), (1152921504606846976, 'EB')
)
SELECT u.sim_id, u.iccid, u.cycle_id, u.cycle_start, u.cycle_end, u.last_updated, u.used_upload::text AS upload,
       u.used_download::text AS download, u.used_total::text AS total, u.limit_bytes::text AS limit_bytes,
       CASE WHEN u.limit_bytes > 0 THEN trim_scale(round(u.used_total * 100 / u.limit_bytes, 2)) ELSE 0 END::text AS percent,
       -- The first unit of which there are less than 1024, after rounding.
       (SELECT trim_scale(round(u.used_total / size, 2)) || ' ' || unit FROM units
        WHERE round(u.used_total / size, 2) < 1024 OR unit = 'EB' ORDER BY size LIMIT 1) AS total_formatted,
       (SELECT trim_scale(round(u.limit_bytes / size, 2)) || ' ' || unit FROM units
        WHERE round(u.limit_bytes / size, 2) < 1024 OR unit = 'EB' ORDER BY size LIMIT 1) AS limit_formatted
FROM used u
