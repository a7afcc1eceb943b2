-- store::mqtt_sessions: removes sessions that have ended, with what waited
DELETE FROM mqtt_sessions held
USING unnest(/* tenant_id */ $2::integer[], /* client_id */ $3::text[]) AS gone (tenant_id, client_id)
WHERE held.instance = /* instance */ $1 AND held.tenant_id = gone.tenant_id AND held.client_id = gone.client_id
