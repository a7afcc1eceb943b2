-- store::migrations: what was applied to this database
CREATE TABLE IF NOT EXISTS schema_history (
    version    integer CONSTRAINT schema_history_pk PRIMARY KEY,
    name       text NOT NULL,
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
