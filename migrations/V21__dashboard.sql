-- What the dashboard needs: sessions of somebody who signed in with an API key, and a tenant's parked records at hand.

CREATE TABLE dashboard_sessions (
    token_hash   bytea CONSTRAINT dashboard_sessions_pk PRIMARY KEY
                 CONSTRAINT dashboard_sessions_hash_length CHECK (length(token_hash) = 32),
    api_key_id   integer NOT NULL CONSTRAINT dashboard_sessions_key_fk REFERENCES api_keys (id) ON DELETE CASCADE,
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    last_used_at timestamptz NOT NULL,
    CONSTRAINT dashboard_sessions_last CHECK (created_at < expires_at)
);
COMMENT ON TABLE dashboard_sessions IS 'Who is signed in at the dashboard, as which API key';
COMMENT ON COLUMN dashboard_sessions.token_hash IS 'SHA-256 of the cookie; 256 random bits need no slow hash';
COMMENT ON COLUMN dashboard_sessions.last_used_at IS 'To the minute; of too many sessions of a key those used least recently end';
CREATE INDEX dashboard_sessions_of_key ON dashboard_sessions (api_key_id, last_used_at);
CREATE INDEX dashboard_sessions_expiry ON dashboard_sessions (expires_at);

CREATE FUNCTION end_dashboard_sessions() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM dashboard_sessions s WHERE s.api_key_id = NEW.id;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION end_dashboard_sessions IS 'A key that is revoked takes its sessions with it';
CREATE TRIGGER api_keys_end_sessions AFTER UPDATE ON api_keys
    FOR EACH ROW WHEN (OLD.enabled AND NOT NEW.enabled) EXECUTE FUNCTION end_dashboard_sessions();

INSERT INTO database_grants (kind, privileges, names) VALUES
    ('serve', 'SELECT, INSERT, UPDATE, DELETE', ARRAY['dashboard_sessions']);

CREATE INDEX quarantine_of_tenant ON quarantine (tenant_id, id);
CREATE INDEX quarantine_by_reason ON quarantine (tenant_id, reason, id) WHERE state = 'parked';
