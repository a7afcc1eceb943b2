-- store::retained: retained messages by tenant and topic, after one of them, without those that have expired
SELECT tenant_id, topic, payload, qos, properties, expires_at
FROM mqtt_retained
WHERE (tenant_id, topic) > (/* tenant */ $1, /* topic */ $2) AND (expires_at IS NULL OR expires_at > /* now */ $3)
ORDER BY tenant_id, topic LIMIT /* at most */ $4
