-- store::mqtt_sessions: removes what clients have, or what gave way
DELETE FROM mqtt_session_messages held
USING unnest(/* tenant_id */ $2::integer[], /* client_id */ $3::text[], /* oldest_sent */ $4::bigint[],
             /* oldest_waiting */ $5::bigint[], /* sent_is_new */ $6::boolean[])
      AS left_over (tenant_id, client_id, oldest_sent, oldest_waiting, sent_is_new)
WHERE held.instance = /* instance */ $1 AND held.tenant_id = left_over.tenant_id AND held.client_id = left_over.client_id
  AND (held.position < left_over.oldest_sent
       OR held.packet_id IS NULL AND held.position < left_over.oldest_waiting
       -- What was sent is written anew.
       OR held.packet_id IS NOT NULL AND left_over.sent_is_new)
