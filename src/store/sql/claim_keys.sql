-- store::writes: claims the keys of a batch; those that exist already are left alone
-- Input comes sorted by key: two batches that share keys lock them in the same order.
INSERT INTO record_keys (tenant_id, iccid, record_id, fingerprint, period_start, write_id)
SELECT input.tenant_id, input.iccid, input.record_id, input.fingerprint, input.period_start, $6
FROM unnest(/* tenant_id */ $1::integer[], /* iccid */ $2::text[], /* record_id */ $3::text[],
            /* fingerprint */ $4::bytea[], /* period_start */ $5::timestamptz[])
     AS input (tenant_id, iccid, record_id, fingerprint, period_start)
ON CONFLICT ON CONSTRAINT record_keys_pk DO NOTHING
