-- store::mqtt_sessions: removes messages that expired while their instance was away; their sessions may go on for long
DELETE FROM mqtt_session_messages WHERE instance = /* instance */ $1 AND expires_at <= /* now */ $2
