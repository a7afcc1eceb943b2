-- store::sim_diagnosis: the days of a SIM, month by month, as they stand and as their records add up, oldest first
-- Days whose raw records are gone are left out: there is nothing to compare them with.
SELECT t.name AS tenant, date_trunc('month', d.usage_date)::date AS month,
       count(DISTINCT d.usage_date) FILTER (WHERE d.differs) AS differing_days,
       min(d.usage_date) FILTER (WHERE d.differs) AS first_differing, max(d.usage_date) FILTER (WHERE d.differs) AS last_differing,
       sum(d.held_upload)::text AS held_upload, sum(d.held_download)::text AS held_download, sum(d.held_total)::text AS held_total,
       sum(d.held_sms)::text AS held_sms, sum(d.held_voice)::text AS held_voice, sum(d.held_records)::text AS held_records,
       sum(d.raw_upload)::text AS raw_upload, sum(d.raw_download)::text AS raw_download, sum(d.raw_total)::text AS raw_total,
       sum(d.raw_sms)::text AS raw_sms, sum(d.raw_voice)::text AS raw_voice, sum(d.raw_records)::text AS raw_records
FROM sim_days_compared(/* iccid */ $1) d
JOIN tenants t ON t.id = d.tenant_id
WHERE d.kept
GROUP BY t.id, t.name, 2
ORDER BY 2, t.name
