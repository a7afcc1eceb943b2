-- store::cycle_resets: ends the current cycle of a SIM and makes the named one current
SELECT known, faults, former
FROM reset_cycle(/* tenant */ $1, /* iccid */ $2, /* cycle id */ $3, /* starts */ $4, /* ends */ $5, /* final usage */ $6,
                 /* now */ $7)
