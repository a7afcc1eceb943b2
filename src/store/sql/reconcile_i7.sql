-- store::reconcile I7: cycles of a SIM have no gap or overlap and one is current
WITH chained AS (
    SELECT sim_id, iccid, cycle_id, cycle_end, is_current,
           lead(cycle_start) OVER (PARTITION BY sim_id, iccid ORDER BY cycle_start) AS next_start
    FROM usage_cycles WHERE iccid > /* after ICCID */ $1 AND iccid <= /* up to ICCID */ $2
)
SELECT format('SIM %s cycle %s ends %s and the next one begins %s', iccid, cycle_id, cycle_end, next_start) AS violation
FROM chained WHERE next_start <> cycle_end
UNION ALL
SELECT format('SIM %s has %s current cycles', s.iccid, count(c.sim_id))
FROM provisioned_sims s LEFT JOIN usage_cycles c ON c.sim_id = s.sim_id AND c.iccid = s.iccid AND c.is_current
WHERE s.iccid > $1 AND s.iccid <= $2
GROUP BY s.iccid HAVING count(c.sim_id) <> 1
LIMIT 1000
