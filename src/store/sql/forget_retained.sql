-- store::retained: forgets messages
DELETE FROM mqtt_retained held
USING unnest(/* tenant_id */ $1::integer[], /* topic */ $2::text[]) AS gone (tenant_id, topic)
WHERE held.tenant_id = gone.tenant_id AND held.topic = gone.topic
