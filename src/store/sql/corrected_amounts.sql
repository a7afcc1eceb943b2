-- store::corrections: what remains of records after the corrections that are stored, in the order asked
SELECT original.period_start,
       original.data_upload_bytes + coalesce(made.upload, 0) AS upload,
       original.data_download_bytes + coalesce(made.download, 0) AS download,
       original.total_bytes + coalesce(made.total, 0) AS total,
       original.sms_count + coalesce(made.sms, 0) AS sms_count,
       original.voice_seconds + coalesce(made.voice, 0) AS voice_seconds
FROM unnest(/* tenant_id */ $1::integer[], /* iccid */ $2::text[], /* record_id */ $3::text[])
     WITH ORDINALITY AS asked (tenant_id, iccid, record_id, position)
-- A correction cannot itself be corrected.
LEFT JOIN LATERAL (
    SELECT r.period_start, r.data_upload_bytes, r.data_download_bytes, r.total_bytes, r.sms_count, r.voice_seconds
    FROM record_keys k
    JOIN usage_records r ON r.iccid = k.iccid AND r.period_start = k.period_start
                        AND r.record_id = k.record_id AND r.key_tenant_id = k.tenant_id AND r.corrects IS NULL
    WHERE k.tenant_id = asked.tenant_id AND k.iccid = asked.iccid AND k.record_id = asked.record_id
) AS original ON true
LEFT JOIN LATERAL (
    SELECT sum(c.data_upload_bytes)::bigint AS upload, sum(c.data_download_bytes)::bigint AS download,
           sum(c.total_bytes)::bigint AS total, sum(c.sms_count)::bigint AS sms, sum(c.voice_seconds)::bigint AS voice
    FROM usage_records c
    WHERE c.iccid = asked.iccid AND c.corrects = asked.record_id AND c.key_tenant_id = asked.tenant_id
) AS made ON true
ORDER BY asked.position
