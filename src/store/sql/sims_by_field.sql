-- store::sim_table: ICCIDs of a page of SIMs that match, by a text of theirs, SIMs without it last
WITH matching AS (
    SELECT s.iccid,
           CASE /* field */ $5 WHEN 'deviceName' THEN s.device_name WHEN 'status' THEN s.status WHEN 'carrier' THEN c.name
                               WHEN 'ratePlan' THEN p.name WHEN 'msisdn' THEN s.msisdn END AS field
    FROM provisioned_sims s
    LEFT JOIN carriers c ON c.id = s.carrier_id
    LEFT JOIN rate_plans p ON p.id = s.rate_plan_id
    WHERE s.tenant_id = /* tenant */ $1
      AND (/* search */ $2 = '' OR strpos(lower(concat_ws(E'\n', s.iccid, s.imsi, s.msisdn, s.device_name) COLLATE "C"), lower($2 COLLATE "C")) > 0)
      AND (cardinality(/* statuses */ $3::text[]) = 0 OR s.status = ANY ($3))
      AND (cardinality(/* carriers */ $4::text[]) = 0 OR c.name = ANY ($4))
)
SELECT m.iccid FROM matching m
ORDER BY CASE WHEN NOT /* descending */ $6 THEN m.field END COLLATE "C", CASE WHEN $6 THEN m.field END COLLATE "C" DESC NULLS LAST, m.iccid
LIMIT /* limit */ $7 OFFSET /* offset */ $8
