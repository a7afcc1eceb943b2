-- store::pool_members: ICCIDs of a page of the members of a period, in their order
SELECT DISTINCT m.iccid FROM usage_pool_members m
WHERE m.tenant_id = /* tenant */ $1 AND m.pool_id = /* pool */ $2
  AND m.joined_on < /* before */ $4 AND coalesce(m.left_on, 'infinity') > /* first */ $3
ORDER BY m.iccid LIMIT /* limit */ $5 OFFSET /* offset */ $6
