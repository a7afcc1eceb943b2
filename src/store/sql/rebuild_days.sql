-- store::rollups: makes the rollups of some days of a tenant anew from the records
SELECT rebuild_days(/* tenant */ $1, /* first day */ $2, /* last day */ $3) AS records
