-- store::dashboard_sessions: a session was used
UPDATE dashboard_sessions SET last_used_at = greatest(last_used_at, $2) WHERE token_hash = $1
