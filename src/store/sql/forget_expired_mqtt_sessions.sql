-- store::mqtt_sessions: removes an instance's sessions that expired while it was away
DELETE FROM mqtt_sessions WHERE instance = /* instance */ $1 AND expires_at <= /* now */ $2
