-- store::sim_table: how many SIMs match; a text or a list that is empty matches all
SELECT count(*) AS total FROM provisioned_sims s
WHERE s.tenant_id = /* tenant */ $1
  AND (/* search */ $2 = '' OR strpos(lower(concat_ws(E'\n', s.iccid, s.imsi, s.msisdn, s.device_name) COLLATE "C"), lower($2 COLLATE "C")) > 0)
  AND (cardinality(/* statuses */ $3::text[]) = 0 OR s.status = ANY ($3))
  AND (cardinality(/* carriers */ $4::text[]) = 0 OR s.carrier_id = ANY (ARRAY(SELECT c.id FROM carriers c WHERE c.name = ANY ($4))))
