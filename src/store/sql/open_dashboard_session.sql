-- store::dashboard_sessions: begins a session of a key that was not revoked; its key's sessions used least recently make room
WITH ended AS (
    DELETE FROM dashboard_sessions s WHERE s.token_hash = ANY (ARRAY(
        SELECT o.token_hash FROM dashboard_sessions o WHERE o.api_key_id = $2
        ORDER BY o.last_used_at DESC, o.token_hash OFFSET /* at most, with the new one */ $5 - 1))
)
INSERT INTO dashboard_sessions (token_hash, api_key_id, created_at, expires_at, last_used_at)
SELECT $1, k.id, /* now */ $3, /* expires */ $4, $3 FROM api_keys k WHERE k.id = $2 AND k.enabled
