-- What waits in the broker and did not survive a restart: wills with a delay, and messages of shared subscriptions.

ALTER TABLE mqtt_sessions
    ADD COLUMN will jsonb,
    ADD COLUMN will_payload bytea,
    ADD COLUMN will_due_at timestamptz,
    ADD CONSTRAINT mqtt_sessions_will_whole CHECK (num_nulls(will, will_payload, will_due_at) IN (0, 3));
COMMENT ON COLUMN mqtt_sessions.will IS
    'Of a client that is away, until it is published: topic, qos, retain, properties, expirySeconds; iccid and mayCorrect of the client';
COMMENT ON COLUMN mqtt_sessions.will_due_at IS 'When it is published if the client does not come back, or the session ends before';

CREATE TABLE mqtt_group_messages (
    instance   text NOT NULL,
    tenant_id  integer NOT NULL CONSTRAINT mqtt_group_messages_tenant_fk REFERENCES tenants (id) ON DELETE CASCADE,
    share_name text COLLATE "C" NOT NULL,
    filter     text COLLATE "C" NOT NULL,
    position   bigint NOT NULL,
    topic      text NOT NULL,
    payload    bytea NOT NULL,
    qos        smallint NOT NULL CONSTRAINT mqtt_group_messages_qos_range CHECK (qos BETWEEN 1 AND 2),
    retain     boolean NOT NULL,
    properties jsonb,
    expires_at timestamptz,
    CONSTRAINT mqtt_group_messages_pk PRIMARY KEY (instance, tenant_id, share_name, filter, position)
);
COMMENT ON TABLE mqtt_group_messages IS
    'QoS 1 and 2 messages of shared subscriptions of which all members are away, for the first of them that comes back';
COMMENT ON COLUMN mqtt_group_messages.instance IS 'As in mqtt_sessions';
COMMENT ON COLUMN mqtt_group_messages.share_name IS 'name of $share/name/filter';
COMMENT ON COLUMN mqtt_group_messages.position IS 'Order within the group';
COMMENT ON COLUMN mqtt_group_messages.retain IS 'As published';
COMMENT ON COLUMN mqtt_group_messages.properties IS 'As in mqtt_retained';

INSERT INTO database_grants (kind, privileges, names) VALUES
    ('serve', 'SELECT, INSERT, UPDATE, DELETE', ARRAY['mqtt_group_messages']);
