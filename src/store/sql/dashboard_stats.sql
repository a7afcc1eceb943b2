-- store::dashboard: live figures of a tenant, from its days, its month's set of SIMs and its sessions
WITH moment AS (
    SELECT (/* now */ $2::timestamptz AT TIME ZONE t.time_zone)::date AS today FROM tenants t WHERE t.id = /* tenant */ $1
), used AS (
    SELECT coalesce(sum(u.data_bytes), 0) AS total, coalesce(sum(u.data_upload_bytes), 0) AS upload,
           coalesce(sum(u.data_download_bytes), 0) AS download,
           coalesce(sum(u.data_bytes) FILTER (WHERE u.usage_date >= date_trunc('month', m.today)::date
                                                AND u.usage_date <= m.today), 0) AS month,
           coalesce(sum(u.data_bytes) FILTER (WHERE u.usage_date = m.today), 0) AS today
    FROM moment m LEFT JOIN daily_usage u ON u.tenant_id = $1
), sims AS (
    SELECT coalesce(sum(bit_count(united.sims)), 0)::bigint AS active
    FROM (SELECT bit_or(a.sims) AS sims FROM moment m
          JOIN monthly_active_sims a ON a.tenant_id = $1 AND a.month = date_trunc('month', m.today)::date
          GROUP BY a.chunk) AS united
), sessions AS (
    SELECT count(*) AS active FROM usage_sessions s
    WHERE s.tenant_id = $1 AND s.last_sample_at > $2 - make_interval(mins => /* idle minutes */ $3)
      AND s.ended_at IS NULL
)
SELECT round(u.total / 1073741824, 2)::float8 AS total, round(u.upload / 1073741824, 2)::float8 AS upload,
       round(u.download / 1073741824, 2)::float8 AS download, round(u.month / 1073741824, 2)::float8 AS month,
       round(u.today / 1073741824, 2)::float8 AS today, s.active AS active_sims, n.active AS active_sessions
FROM used u, sims s, sessions n
