-- store::rollups: the newest days of a tenant, each over all carriers, SIMs counted once
SELECT u.usage_date, count(*) AS carriers, sum(u.record_count)::bigint AS records, sum(u.data_bytes)::text AS data_bytes,
       round(sum(u.cost), 2)::text AS cost, t.currency, coalesce((
           -- A SIM that changed carriers on a day stands in two rows.
           SELECT sum(bit_count(united.sims)) FROM (
               SELECT bit_or(a.sims) AS sims FROM daily_active_sims a
               WHERE a.tenant_id = u.tenant_id AND a.usage_date = u.usage_date GROUP BY a.chunk) AS united), 0)::bigint AS sims
FROM daily_usage u JOIN tenants t ON t.id = u.tenant_id
WHERE u.tenant_id = /* tenant */ $1
GROUP BY u.tenant_id, u.usage_date, t.currency
ORDER BY u.usage_date DESC LIMIT /* days */ $2
