-- store::mqtt_sessions: adds what waits, or was sent since, to sessions that exist
INSERT INTO mqtt_session_messages AS held
    (instance, tenant_id, client_id, position, topic, payload, qos, retain, properties, identifiers, expires_at, packet_id,
     released)
SELECT session.instance, session.tenant_id, session.client_id, added.position, added.topic, added.payload, added.qos,
       added.retain, added.properties,
       ARRAY(SELECT number::integer FROM jsonb_array_elements_text(added.identifiers) AS element (number)),
       added.expires_at, added.packet_id, added.released
FROM unnest(/* tenant_id */ $2::integer[], /* client_id */ $3::text[], /* position */ $4::bigint[], /* topic */ $5::text[],
            /* payload */ $6::bytea[], /* qos */ $7::smallint[], /* retain */ $8::boolean[], /* properties */ $9::jsonb[],
            /* identifiers */ $10::jsonb[], /* expires_at */ $11::timestamptz[], /* packet_id */ $12::integer[],
            /* released */ $13::boolean[])
     AS added (tenant_id, client_id, position, topic, payload, qos, retain, properties, identifiers, expires_at, packet_id,
               released)
JOIN mqtt_sessions session
  ON session.instance = /* instance */ $1 AND session.tenant_id = added.tenant_id AND session.client_id = added.client_id
ON CONFLICT ON CONSTRAINT mqtt_session_messages_pk DO UPDATE SET
    topic = excluded.topic, payload = excluded.payload, qos = excluded.qos, retain = excluded.retain,
    properties = excluded.properties, identifiers = excluded.identifiers, expires_at = excluded.expires_at,
    packet_id = excluded.packet_id, released = excluded.released
