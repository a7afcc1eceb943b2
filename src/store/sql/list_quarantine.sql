-- store::quarantine: a page of parked records, newest first; an empty state or reason matches all
SELECT id, tenant_id, iccid, record_id, reason, detail, via, sender, topic, payload, first_seen_at, last_seen_at,
       seen_count, state
FROM quarantine
WHERE ($1 = '' OR state = $1) AND ($2 = '' OR reason = $2) AND id < $3
ORDER BY id DESC LIMIT $4
