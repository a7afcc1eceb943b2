-- store::writes: who holds the keys of a batch, in the batch's order
-- A statement of its own: under READ COMMITTED it sees the rows because of which claim_keys.sql skipped some.
SELECT held.fingerprint, held.processed_at, held.write_id
FROM unnest(/* tenant_id */ $1::integer[], /* iccid */ $2::text[], /* record_id */ $3::text[])
     WITH ORDINALITY AS input (tenant_id, iccid, record_id, position)
LEFT JOIN LATERAL (
    SELECT k.fingerprint, k.processed_at, k.write_id FROM record_keys k
    WHERE k.tenant_id = input.tenant_id AND k.iccid = input.iccid AND k.record_id = input.record_id
) AS held ON true
ORDER BY input.position
