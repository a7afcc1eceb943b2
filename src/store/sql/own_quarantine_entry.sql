-- store::quarantine: one entry of a tenant
SELECT id, tenant_id, iccid, record_id, reason, detail, via, sender, topic, payload, first_seen_at, last_seen_at,
       seen_count, state, resolved_at
FROM quarantine WHERE tenant_id = /* tenant */ $1 AND id = $2
