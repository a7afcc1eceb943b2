-- Sessions of MQTT clients that outlive their connections, so that they survive a restart.

CREATE TABLE mqtt_sessions (
    instance       text NOT NULL,
    tenant_id      integer NOT NULL CONSTRAINT mqtt_sessions_tenant_fk REFERENCES tenants (id) ON DELETE CASCADE,
    client_id      text COLLATE "C" NOT NULL,
    owner          text NOT NULL,
    keep_seconds   integer NOT NULL CONSTRAINT mqtt_sessions_keep_positive CHECK (keep_seconds > 0),
    expires_at     timestamptz,
    subscriptions  jsonb NOT NULL,
    received       integer[] NOT NULL,
    last_packet_id integer NOT NULL,
    updated_at     timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT mqtt_sessions_pk PRIMARY KEY (instance, tenant_id, client_id)
);
COMMENT ON TABLE mqtt_sessions IS 'Sessions of MQTT clients; each instance reads its own when it starts';
COMMENT ON COLUMN mqtt_sessions.instance IS 'mqtt.instance_name of the simbridge that has the session';
COMMENT ON COLUMN mqtt_sessions.owner IS 'Login to which the session belongs: anonymous, user:NAME or key:ID';
COMMENT ON COLUMN mqtt_sessions.keep_seconds IS 'How long the session outlives its connection';
COMMENT ON COLUMN mqtt_sessions.expires_at IS 'End of a session without a connection; NULL while the client is connected';
COMMENT ON COLUMN mqtt_sessions.subscriptions IS 'Objects with filter, qos, noLocal, retainAsPublished, identifier; the oldest first';
COMMENT ON COLUMN mqtt_sessions.received IS 'Packet ids of QoS 2 messages from the client between PUBREC and PUBREL';
COMMENT ON COLUMN mqtt_sessions.last_packet_id IS 'Packet id that the broker used last towards the client';

CREATE TABLE mqtt_session_messages (
    instance    text NOT NULL,
    tenant_id   integer NOT NULL,
    client_id   text COLLATE "C" NOT NULL,
    position    bigint NOT NULL,
    topic       text NOT NULL,
    payload     bytea NOT NULL,
    qos         smallint NOT NULL CONSTRAINT mqtt_session_messages_qos_range CHECK (qos BETWEEN 1 AND 2),
    retain      boolean NOT NULL,
    properties  jsonb,
    identifiers integer[] NOT NULL,
    expires_at  timestamptz,
    packet_id   integer,
    released    boolean NOT NULL,
    CONSTRAINT mqtt_session_messages_pk PRIMARY KEY (instance, tenant_id, client_id, position),
    CONSTRAINT mqtt_session_messages_session_fk FOREIGN KEY (instance, tenant_id, client_id)
        REFERENCES mqtt_sessions (instance, tenant_id, client_id) ON DELETE CASCADE
);
COMMENT ON TABLE mqtt_session_messages IS 'QoS 1 and 2 messages that wait for the client of a session';
COMMENT ON COLUMN mqtt_session_messages.position IS 'Order within the session';
COMMENT ON COLUMN mqtt_session_messages.properties IS 'As in mqtt_retained';
COMMENT ON COLUMN mqtt_session_messages.identifiers IS 'Subscription identifiers (MQTT 5)';
COMMENT ON COLUMN mqtt_session_messages.packet_id IS 'Set when the message was sent and not acknowledged';
COMMENT ON COLUMN mqtt_session_messages.released IS 'QoS 2: PUBREC came, so that PUBREL is what is to be repeated';

INSERT INTO database_grants (kind, privileges, names) VALUES
    ('serve', 'SELECT, INSERT, UPDATE, DELETE', ARRAY['mqtt_sessions', 'mqtt_session_messages']);
