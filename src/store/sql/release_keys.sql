-- store::writes: gives back keys that this very transaction claimed, of records that turned out to be refused
DELETE FROM record_keys k
USING unnest(/* tenant_id */ $1::integer[], /* iccid */ $2::text[], /* record_id */ $3::text[])
      AS refused (tenant_id, iccid, record_id)
WHERE k.tenant_id = refused.tenant_id AND k.iccid = refused.iccid AND k.record_id = refused.record_id
  AND k.write_id = $4
