-- store::corrections: locks the keys of records that are to be corrected, in the order of their key
-- Two corrections of one record wait for each other here, so that the second one sees what the first one left.
SELECT k.tenant_id, k.iccid, k.record_id FROM record_keys k
WHERE (k.tenant_id, k.iccid, k.record_id) IN (
    SELECT * FROM unnest(/* tenant_id */ $1::integer[], /* iccid */ $2::text[], /* record_id */ $3::text[]))
ORDER BY k.tenant_id, k.iccid, k.record_id
FOR UPDATE
