-- store::sim_repair: makes everything that is held of a SIM what its records say
SELECT stamped, cycles, days FROM repair_sim(/* iccid */ $1, /* now */ $2)
