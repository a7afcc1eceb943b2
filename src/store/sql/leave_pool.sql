-- store::pool_members: ends the membership of SIMs; NULL without such a pool
SELECT leave_pool($1, $2, $3, $4) AS gone
