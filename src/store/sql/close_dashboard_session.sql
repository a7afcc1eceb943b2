-- store::dashboard_sessions: somebody signs out
DELETE FROM dashboard_sessions WHERE token_hash = $1
