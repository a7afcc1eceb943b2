-- store::quarantine: a page of a tenant's entries without their payloads, newest first; an empty filter matches all
SELECT id, tenant_id, iccid, record_id, reason, detail, via, sender, topic, length(payload)::bigint AS payload_bytes,
       first_seen_at, last_seen_at, seen_count, state, resolved_at
FROM quarantine
WHERE tenant_id = /* tenant */ $1 AND (/* state */ $2 = '' OR state = $2) AND (/* reason */ $3 = '' OR reason = $3)
  AND (/* ICCID */ $4 = '' OR iccid = $4) AND id < /* before */ $5
ORDER BY id DESC LIMIT $6
