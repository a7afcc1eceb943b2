-- store::consumption: SIMs with a place and usage in a range of days, each under one of the carriers that it used
SELECT p.* FROM active_sim_places(/* tenant */ $1, /* first */ $2, /* last */ $3, /* iccids */ $4, /* networks */ $5, /* limit */ $6) AS p
ORDER BY p.iccid
