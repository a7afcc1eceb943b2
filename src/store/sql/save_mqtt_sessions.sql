-- store::mqtt_sessions: keeps or replaces sessions; a tenant that is gone has none
INSERT INTO mqtt_sessions AS held
    (instance, tenant_id, client_id, owner, keep_seconds, expires_at, subscriptions, received, last_packet_id, will,
     will_payload, will_due_at)
SELECT /* instance */ $1, kept.tenant_id, kept.client_id, kept.owner, kept.keep_seconds, kept.expires_at, kept.subscriptions,
       -- Arrays of different lengths do not fit into one array.
       ARRAY(SELECT number::integer FROM jsonb_array_elements_text(kept.received) AS element (number)),
       kept.last_packet_id, kept.will, kept.will_payload, kept.will_due_at
FROM unnest(/* tenant_id */ $2::integer[], /* client_id */ $3::text[], /* owner */ $4::text[], /* keep_seconds */ $5::integer[],
            /* expires_at */ $6::timestamptz[], /* subscriptions */ $7::jsonb[], /* received */ $8::jsonb[],
            /* last_packet_id */ $9::integer[], /* will */ $10::jsonb[], /* will_payload */ $11::bytea[],
            /* will_due_at */ $12::timestamptz[])
     AS kept (tenant_id, client_id, owner, keep_seconds, expires_at, subscriptions, received, last_packet_id, will,
              will_payload, will_due_at)
WHERE EXISTS (SELECT FROM tenants t WHERE t.id = kept.tenant_id)
ORDER BY kept.tenant_id, kept.client_id COLLATE "C"
ON CONFLICT ON CONSTRAINT mqtt_sessions_pk DO UPDATE SET
    owner = excluded.owner, keep_seconds = excluded.keep_seconds, expires_at = excluded.expires_at,
    subscriptions = excluded.subscriptions, received = excluded.received, last_packet_id = excluded.last_packet_id,
    will = excluded.will, will_payload = excluded.will_payload, will_due_at = excluded.will_due_at,
    updated_at = now()
