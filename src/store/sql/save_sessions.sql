-- store::counters: the newest readings and the deltas that they gave
UPDATE usage_sessions s
SET upload_counter = reading.upload_counter, download_counter = reading.download_counter,
    last_sample_at = reading.last_sample_at,
    -- What is read after its end has not ended.
    ended_at = CASE WHEN reading.last_sample_at <= s.ended_at THEN s.ended_at END,
    data_upload_bytes = s.data_upload_bytes + reading.upload_delta,
    data_download_bytes = s.data_download_bytes + reading.download_delta,
    updated_at = now()
FROM unnest(/* tenant_id */ $1::integer[], /* iccid */ $2::text[], /* session_id */ $3::text[],
            /* upload_counter */ $4::bigint[], /* download_counter */ $5::bigint[], /* last_sample_at */ $6::timestamptz[],
            /* upload_delta */ $7::bigint[], /* download_delta */ $8::bigint[])
     AS reading (tenant_id, iccid, session_id, upload_counter, download_counter, last_sample_at, upload_delta, download_delta)
WHERE s.tenant_id = reading.tenant_id AND s.iccid = reading.iccid AND s.session_id = reading.session_id
