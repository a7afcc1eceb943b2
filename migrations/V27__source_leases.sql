-- Sources that are read on a schedule: which of several instances reads, and what came of it.
CREATE TABLE source_leases (
    source        text COLLATE "C" CONSTRAINT source_leases_pk PRIMARY KEY
                  CONSTRAINT source_leases_source_length CHECK (length(source) BETWEEN 1 AND 40),
    holder        text COLLATE "C" NOT NULL,
    expires_at    timestamptz NOT NULL,
    finished_slot timestamptz,
    wait_until    timestamptz,
    last_error    text
);
COMMENT ON TABLE source_leases IS 'Sources that one instance at a time reads; a row and not a lock, because a session is nobody''s own behind a pooler';
COMMENT ON COLUMN source_leases.source IS 'Name of the source in the configuration';
COMMENT ON COLUMN source_leases.holder IS 'Process that reads or read last; it renews expires_at while it does';
COMMENT ON COLUMN source_leases.expires_at IS 'From then on any instance may take over, by the clock of the database';
COMMENT ON COLUMN source_leases.finished_slot IS 'Minute of the schedule whose run has ended, well or not; NULL makes one due';
COMMENT ON COLUMN source_leases.wait_until IS 'Until then the source asked to be left alone (Retry-After)';
COMMENT ON COLUMN source_leases.last_error IS 'Why the last run failed; NULL after one that did not';

INSERT INTO database_grants (kind, privileges, names) VALUES
    ('serve', 'SELECT, INSERT, UPDATE', ARRAY['source_leases']);
