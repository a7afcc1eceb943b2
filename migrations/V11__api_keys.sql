-- Keys of the HTTP API, and what they were used for.

CREATE TABLE api_keys (
    id          integer GENERATED ALWAYS AS IDENTITY CONSTRAINT api_keys_pk PRIMARY KEY,
    tenant_id   integer NOT NULL CONSTRAINT api_keys_tenant_fk REFERENCES tenants (id),
    name        text NOT NULL CONSTRAINT api_keys_name_length CHECK (length(name) BETWEEN 1 AND 100),
    key_hash    bytea NOT NULL CONSTRAINT api_keys_hash_unique UNIQUE
                CONSTRAINT api_keys_hash_length CHECK (length(key_hash) = 32),
    permissions text[] NOT NULL CONSTRAINT api_keys_some_permission CHECK (cardinality(permissions) > 0),
    rate_limits jsonb NOT NULL DEFAULT '{}' CONSTRAINT api_keys_rate_limits_object CHECK (jsonb_typeof(rate_limits) = 'object'),
    enabled     boolean NOT NULL DEFAULT true,
    created_at  timestamptz NOT NULL DEFAULT now(),
    revoked_at  timestamptz,
    CONSTRAINT api_keys_name_unique UNIQUE (tenant_id, name),
    CONSTRAINT api_keys_revoked CHECK (enabled = (revoked_at IS NULL))
);
COMMENT ON TABLE api_keys IS 'Keys of the HTTP API; the key itself is shown once and never stored';
COMMENT ON COLUMN api_keys.key_hash IS 'SHA-256 of the whole key; 256 random bits need no slow hash';
COMMENT ON COLUMN api_keys.permissions IS 'category:action, category:* or *';
COMMENT ON COLUMN api_keys.rate_limits IS 'Requests a minute of this key by class, such as {"usage_batch": 60}; 0 for no limit; what is missing is configured';

CREATE TABLE api_key_uses (
    api_key_id integer NOT NULL CONSTRAINT api_key_uses_key_fk REFERENCES api_keys (id) ON DELETE CASCADE,
    used_on    date NOT NULL,
    address    inet NOT NULL,
    action     text NOT NULL,
    accepted   bigint NOT NULL DEFAULT 0,
    refused    bigint NOT NULL DEFAULT 0,
    first_at   timestamptz NOT NULL,
    last_at    timestamptz NOT NULL,
    CONSTRAINT api_key_uses_pk PRIMARY KEY (api_key_id, used_on, address, action)
) WITH (fillfactor = 70);
COMMENT ON TABLE api_key_uses IS 'Audit: what each key did on a UTC day, from where; counted in memory and added up every few seconds';
COMMENT ON COLUMN api_key_uses.action IS 'Permission that the request needed';
COMMENT ON COLUMN api_key_uses.refused IS 'Requests refused for want of the permission or beyond the rate limit';
