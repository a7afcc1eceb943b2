-- store::consumption: SIMs of a tenant that ever had usage
SELECT n.iccid FROM sim_numbers n WHERE n.tenant_id = /* tenant */ $1
ORDER BY n.iccid LIMIT /* limit */ $2 OFFSET /* offset */ $3
