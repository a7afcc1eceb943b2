-- store::rollups: first and last day of a tenant that can be made anew, in its zone: from its records or its rollups
SELECT greatest(least((min(r.period_start) AT TIME ZONE t.time_zone)::date,
                      (SELECT min(u.usage_date) FROM daily_usage u WHERE u.tenant_id = t.id)),
                -- The first day whose records are all kept, one more for zones that are being changed.
                (SELECT (v.raw_floor AT TIME ZONE t.time_zone)::date + 2 FROM inventory_version v
                 WHERE v.raw_floor <> '-infinity')) AS first,
       greatest((max(r.period_start) AT TIME ZONE t.time_zone)::date,
                (SELECT max(u.usage_date) FROM daily_usage u WHERE u.tenant_id = t.id)) AS last
FROM tenants t LEFT JOIN usage_records r ON r.tenant_id = t.id
WHERE t.id = $1
GROUP BY t.id, t.time_zone
