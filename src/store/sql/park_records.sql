-- store::quarantine: parks refused records; the same fault sent again only counts up
INSERT INTO quarantine AS held (tenant_id, iccid, record_id, reason, detail, via, sender, topic, payload, digest, seen_count)
SELECT tenant_id, iccid, record_id, reason, detail, via, sender, topic, payload, digest, seen_count
FROM unnest(/* tenant_id */ $1::integer[], /* iccid */ $2::text[], /* record_id */ $3::text[], /* reason */ $4::text[],
            /* detail */ $5::text[], /* via */ $6::text[], /* sender */ $7::text[], /* topic */ $8::text[],
            /* payload */ $9::bytea[], /* digest */ $10::bytea[], /* seen_count */ $11::bigint[])
     AS refused (tenant_id, iccid, record_id, reason, detail, via, sender, topic, payload, digest, seen_count)
ON CONFLICT (tenant_id, digest) WHERE state = 'parked'
DO UPDATE SET last_seen_at = now(), seen_count = held.seen_count + excluded.seen_count
