-- store::retained: keeps or replaces messages; a tenant that is gone has none
INSERT INTO mqtt_retained AS held (tenant_id, topic, payload, qos, properties, expires_at)
SELECT kept.*
FROM unnest(/* tenant_id */ $1::integer[], /* topic */ $2::text[], /* payload */ $3::bytea[], /* qos */ $4::smallint[],
            /* properties */ $5::jsonb[], /* expires_at */ $6::timestamptz[])
     AS kept (tenant_id, topic, payload, qos, properties, expires_at)
WHERE EXISTS (SELECT FROM tenants t WHERE t.id = kept.tenant_id)
-- Two instances that write the same topics take their locks in one order.
ORDER BY kept.tenant_id, kept.topic COLLATE "C"
ON CONFLICT ON CONSTRAINT mqtt_retained_pk DO UPDATE SET
    payload = excluded.payload, qos = excluded.qos, properties = excluded.properties, expires_at = excluded.expires_at,
    updated_at = now()
