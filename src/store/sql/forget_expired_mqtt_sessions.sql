-- store::mqtt_sessions: removes an instance's sessions that expired while it was away; one with a will ends when that is sent
DELETE FROM mqtt_sessions WHERE instance = /* instance */ $1 AND expires_at <= /* now */ $2 AND will IS NULL
