-- store::pool_members: makes SIMs members of a pool or changes their limits, all or none; a row for each, or for each that is at fault
SELECT place, outcome, other_pool, other_until FROM join_pool($1, $2, $3, $4, $5, $6, $7)
