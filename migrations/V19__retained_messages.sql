-- Retained messages of the embedded broker, so that they survive a restart.

CREATE TABLE mqtt_retained (
    tenant_id  integer NOT NULL CONSTRAINT mqtt_retained_tenant_fk REFERENCES tenants (id) ON DELETE CASCADE,
    topic      text COLLATE "C" NOT NULL,
    payload    bytea NOT NULL,
    qos        smallint NOT NULL CONSTRAINT mqtt_retained_qos_range CHECK (qos BETWEEN 0 AND 2),
    properties jsonb,
    expires_at timestamptz,
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT mqtt_retained_pk PRIMARY KEY (tenant_id, topic)
);
COMMENT ON TABLE mqtt_retained IS 'The last retained message of each topic; instances read it when they start';
COMMENT ON COLUMN mqtt_retained.properties IS
    'MQTT 5: payloadFormat, contentType, responseTopic, correlationData (base64), userProperties (pairs); NULL without any';
COMMENT ON COLUMN mqtt_retained.expires_at IS 'End of the message expiry interval; NULL without one';

INSERT INTO database_grants (kind, privileges, names) VALUES ('serve', 'SELECT, INSERT, UPDATE, DELETE', ARRAY['mqtt_retained']);
