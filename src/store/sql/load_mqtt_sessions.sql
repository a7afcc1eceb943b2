-- store::mqtt_sessions: an instance's sessions by tenant and client, after one of them; of those that have expired, those with a will
SELECT tenant_id, client_id, owner, keep_seconds, expires_at, subscriptions, received, last_packet_id, will, will_payload,
       will_due_at
FROM mqtt_sessions
WHERE instance = /* instance */ $1 AND (tenant_id, client_id) > (/* tenant */ $2, /* client */ $3)
  AND (expires_at IS NULL OR expires_at > /* now */ $4 OR will IS NOT NULL)
ORDER BY tenant_id, client_id LIMIT /* at most */ $5
