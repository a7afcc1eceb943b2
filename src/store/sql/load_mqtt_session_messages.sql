-- store::mqtt_sessions: what waits for a client, in order
SELECT position, topic, payload, qos, retain, properties, identifiers, expires_at, packet_id, released
FROM mqtt_session_messages
WHERE instance = /* instance */ $1 AND tenant_id = /* tenant */ $2 AND client_id = /* client */ $3
  AND (expires_at IS NULL OR expires_at > /* now */ $4)
ORDER BY position LIMIT /* at most */ $5
