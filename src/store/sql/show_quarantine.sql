-- store::quarantine: one parked record
SELECT id, tenant_id, iccid, record_id, reason, detail, via, sender, topic, payload, first_seen_at, last_seen_at,
       seen_count, state
FROM quarantine WHERE id = $1
