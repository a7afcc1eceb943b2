-- store::sim_table: ICCIDs of a page of SIMs that match, by ICCID; a text or a list that is empty matches all
WITH named AS (
    SELECT array_agg(c.id) AS ids FROM carriers c WHERE c.name = ANY (/* carriers */ $4::text[])
)
(SELECT s.iccid FROM provisioned_sims s CROSS JOIN named
 WHERE s.tenant_id = /* tenant */ $1 AND NOT /* descending */ $5
   AND (/* search */ $2 = '' OR strpos(lower(concat_ws(E'\n', s.iccid, s.imsi, s.msisdn, s.device_name) COLLATE "C"), lower($2 COLLATE "C")) > 0)
   AND (cardinality(/* statuses */ $3::text[]) = 0 OR s.status = ANY ($3))
   AND (cardinality($4) = 0 OR s.carrier_id = ANY (named.ids))
   AND s.iccid > /* after */ $6
 ORDER BY s.iccid LIMIT /* limit */ $7 OFFSET /* offset */ $8)
UNION ALL
(SELECT s.iccid FROM provisioned_sims s CROSS JOIN named
 WHERE s.tenant_id = $1 AND $5
   AND ($2 = '' OR strpos(lower(concat_ws(E'\n', s.iccid, s.imsi, s.msisdn, s.device_name) COLLATE "C"), lower($2 COLLATE "C")) > 0)
   AND (cardinality($3) = 0 OR s.status = ANY ($3))
   AND (cardinality($4) = 0 OR s.carrier_id = ANY (named.ids))
 ORDER BY s.iccid DESC LIMIT $7 OFFSET $8)
