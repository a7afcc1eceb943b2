-- store::alerts: raises what is due for the SIMs after an ICCID
SELECT sims, last_iccid, raised FROM raise_alerts($1, $2, $3, $4)
