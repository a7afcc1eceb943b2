-- store::pool_members: how many SIMs were members at some time of a period
SELECT count(DISTINCT m.iccid) AS total FROM usage_pool_members m
WHERE m.tenant_id = /* tenant */ $1 AND m.pool_id = /* pool */ $2
  AND m.joined_on < /* before */ $4 AND coalesce(m.left_on, 'infinity') > /* first */ $3
