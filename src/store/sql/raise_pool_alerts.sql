-- store::pools: raises what is due for the pools and members after a place in their order
SELECT subjects, last_pool, last_iccid, raised FROM raise_pool_alerts($1, $2, $3, $4, $5)
