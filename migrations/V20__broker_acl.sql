-- What users of the broker may do, and how instances notice that a login changed.

-- Never the same number twice, so that a login which is deleted and made anew is not taken for the old one.
CREATE SEQUENCE login_revisions AS bigint;

ALTER TABLE mqtt_credentials
    ADD COLUMN iccid text CONSTRAINT mqtt_credentials_iccid_form CHECK (iccid ~ '^[0-9]{10,20}$'),
    ADD COLUMN publish_topics text[]
        CONSTRAINT mqtt_credentials_publish_topics_number CHECK (cardinality(publish_topics) <= 100),
    ADD COLUMN subscribe_topics text[]
        CONSTRAINT mqtt_credentials_subscribe_topics_number CHECK (cardinality(subscribe_topics) <= 100),
    ADD COLUMN revision bigint NOT NULL DEFAULT nextval('login_revisions');
COMMENT ON COLUMN mqtt_credentials.iccid IS
    'A device: may send usage of this SIM only; NULL for gateways and services, which speak for every SIM of the tenant';
COMMENT ON COLUMN mqtt_credentials.publish_topics IS
    'Topic filters, with {iccid}, {username}, {clientid} or {tenant} as levels; NULL: what is configured';
COMMENT ON COLUMN mqtt_credentials.subscribe_topics IS
    'As publish_topics: a subscription must be covered as a whole by one of them';
COMMENT ON COLUMN mqtt_credentials.revision IS 'Another number after every change; connections of an older one end';

ALTER TABLE api_keys ADD COLUMN revision bigint NOT NULL DEFAULT nextval('login_revisions');
COMMENT ON COLUMN api_keys.revision IS 'Another number after every change; MQTT connections of an older one end';

CREATE TABLE login_version (
    only_row boolean CONSTRAINT login_version_pk PRIMARY KEY DEFAULT true CONSTRAINT login_version_one CHECK (only_row),
    version  bigint NOT NULL
);
INSERT INTO login_version (version) VALUES (1);
COMMENT ON TABLE login_version IS
    'Counts changes of users and keys that exist, in the order of their commits: while it stands still, nobody''s rights changed';

CREATE FUNCTION new_login_revision() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.revision := nextval('login_revisions');
    RETURN NEW;
END $$;
CREATE TRIGGER mqtt_credentials_revised BEFORE UPDATE ON mqtt_credentials
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION new_login_revision();
CREATE TRIGGER api_keys_revised BEFORE UPDATE ON api_keys
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION new_login_revision();

-- The row is locked until COMMIT, so whoever reads a number can read every change up to it. A sequence would not do that.
CREATE FUNCTION bump_login_version() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE login_version SET version = version + 1;
    RETURN NULL;
END $$;
CREATE TRIGGER mqtt_credentials_changed AFTER UPDATE ON mqtt_credentials
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION bump_login_version();
CREATE TRIGGER mqtt_credentials_deleted AFTER DELETE ON mqtt_credentials
    FOR EACH STATEMENT EXECUTE FUNCTION bump_login_version();
CREATE TRIGGER api_keys_changed AFTER UPDATE ON api_keys
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION bump_login_version();
CREATE TRIGGER api_keys_deleted AFTER DELETE ON api_keys
    FOR EACH STATEMENT EXECUTE FUNCTION bump_login_version();

INSERT INTO database_grants (kind, privileges, names) VALUES
    ('ingest', 'SELECT', ARRAY['login_version']),
    ('serve', 'UPDATE', ARRAY['login_version']);
INSERT INTO database_grants (kind, privileges, names, sequences) VALUES ('serve', 'USAGE', ARRAY['login_revisions'], true);
