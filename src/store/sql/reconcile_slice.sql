-- store::reconcile: the ICCID up to which the records after another one are about so many; NULL at the end
SELECT max(iccid) AS up_to
FROM (SELECT iccid FROM usage_records WHERE iccid > /* after ICCID */ $1 ORDER BY iccid LIMIT /* records */ $2) AS r
