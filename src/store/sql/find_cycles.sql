-- store::directory: bounds of the cycles of SIMs
SELECT c.iccid, c.cycle_id, c.cycle_start, c.cycle_end
FROM usage_cycles c
WHERE c.sim_id = ANY (/* sim_ids */ $1)
ORDER BY c.iccid, c.cycle_start
