-- store::mqtt_groups: what waits for an instance's groups, in order, after one of them, without what has expired
SELECT tenant_id, share_name, filter, position, topic, payload, qos, retain, properties, expires_at
FROM mqtt_group_messages
WHERE instance = /* instance */ $1
  AND (tenant_id, share_name, filter, position) > (/* tenant */ $2, /* name */ $3, /* filter */ $4, /* position */ $5)
  AND (expires_at IS NULL OR expires_at > /* now */ $6)
ORDER BY tenant_id, share_name, filter, position LIMIT /* at most */ $7
