-- How far each file of usage history was imported, so that an interrupted import goes on where it was.

CREATE TABLE file_imports (
    id              bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT file_imports_pk PRIMARY KEY,
    tenant_id       integer NOT NULL,
    name            text NOT NULL,
    size_bytes      bigint NOT NULL,
    digest          bytea NOT NULL,
    committed_bytes bigint NOT NULL DEFAULT 0,
    committed_lines bigint NOT NULL DEFAULT 0,
    stored          bigint NOT NULL DEFAULT 0,
    duplicate       bigint NOT NULL DEFAULT 0,
    parked          bigint NOT NULL DEFAULT 0,
    started_at      timestamptz NOT NULL DEFAULT now(),
    saved_at        timestamptz NOT NULL DEFAULT now(),
    finished_at     timestamptz,
    CONSTRAINT file_imports_file UNIQUE (tenant_id, digest),
    CONSTRAINT file_imports_within CHECK (committed_bytes BETWEEN 0 AND size_bytes)
);
COMMENT ON TABLE file_imports IS 'Files of usage history: one row for each file and tenant, whatever its name';
COMMENT ON COLUMN file_imports.tenant_id IS 'Tenant in whose name the records are stored';
COMMENT ON COLUMN file_imports.name IS 'Name of the file when it was last imported; for people';
COMMENT ON COLUMN file_imports.size_bytes IS 'Size of the file; part of the digest too';
COMMENT ON COLUMN file_imports.digest IS 'SHA-256 of the size and of the first and the last MiB: what identifies the file';
COMMENT ON COLUMN file_imports.committed_bytes IS 'Every row that begins before this offset is stored or parked';
COMMENT ON COLUMN file_imports.committed_lines IS 'Lines before that offset';
COMMENT ON COLUMN file_imports.stored IS 'Records up to that offset that the import stored';
COMMENT ON COLUMN file_imports.duplicate IS 'Records up to that offset that had been stored before, also by this import before it was killed';
COMMENT ON COLUMN file_imports.parked IS 'Records up to that offset that are in the quarantine';
COMMENT ON COLUMN file_imports.started_at IS 'When the file was begun, or begun again from its start';
COMMENT ON COLUMN file_imports.saved_at IS 'When the columns above were last brought up to date';
COMMENT ON COLUMN file_imports.finished_at IS 'When its last row was committed; NULL before that';
