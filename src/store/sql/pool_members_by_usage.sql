-- store::pool_members: ICCIDs of a page of the members of a period, those that used most first
SELECT m.iccid
FROM usage_pool_members m
LEFT JOIN sim_daily_usage d ON d.tenant_id = /* tenant */ $1 AND d.iccid = m.iccid
     AND d.usage_date >= greatest(m.joined_on, /* first */ $3) AND d.usage_date < least(m.left_on, /* before */ $4)
     -- The same in constants, by which months are left out.
     AND d.usage_date >= $3 AND d.usage_date < $4
WHERE m.tenant_id = $1 AND m.pool_id = /* pool */ $2 AND m.joined_on < $4 AND coalesce(m.left_on, 'infinity') > $3
GROUP BY m.iccid
ORDER BY coalesce(sum(d.total_bytes), 0) DESC, m.iccid LIMIT /* limit */ $5 OFFSET /* offset */ $6
