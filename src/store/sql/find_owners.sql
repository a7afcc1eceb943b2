-- store::directory: owners of SIMs over time, oldest first; NULL stands for -infinity
SELECT o.iccid, nullif(o.valid_from, '-infinity') AS valid_from, o.tenant_id, o.sim_id, o.carrier_id, o.rate_plan_id
FROM sim_ownership o
WHERE o.iccid = ANY (/* iccids */ $1)
ORDER BY o.iccid, o.valid_from
