-- store::mqtt_groups: adds what waits for groups; a tenant that is gone has none
INSERT INTO mqtt_group_messages AS held
    (instance, tenant_id, share_name, filter, position, topic, payload, qos, retain, properties, expires_at)
SELECT /* instance */ $1, added.*
FROM unnest(/* tenant_id */ $2::integer[], /* share_name */ $3::text[], /* filter */ $4::text[], /* position */ $5::bigint[],
            /* topic */ $6::text[], /* payload */ $7::bytea[], /* qos */ $8::smallint[], /* retain */ $9::boolean[],
            /* properties */ $10::jsonb[], /* expires_at */ $11::timestamptz[])
     AS added (tenant_id, share_name, filter, position, topic, payload, qos, retain, properties, expires_at)
WHERE EXISTS (SELECT FROM tenants t WHERE t.id = added.tenant_id)
ON CONFLICT ON CONSTRAINT mqtt_group_messages_pk DO UPDATE SET
    topic = excluded.topic, payload = excluded.payload, qos = excluded.qos, retain = excluded.retain,
    properties = excluded.properties, expires_at = excluded.expires_at
