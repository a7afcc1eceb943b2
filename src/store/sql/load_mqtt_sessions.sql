-- store::mqtt_sessions: an instance's sessions by tenant and client, after one of them, without those that have expired
SELECT tenant_id, client_id, owner, keep_seconds, expires_at, subscriptions, received, last_packet_id
FROM mqtt_sessions
WHERE instance = /* instance */ $1 AND (tenant_id, client_id) > (/* tenant */ $2, /* client */ $3)
  AND (expires_at IS NULL OR expires_at > /* now */ $4)
ORDER BY tenant_id, client_id LIMIT /* at most */ $5
