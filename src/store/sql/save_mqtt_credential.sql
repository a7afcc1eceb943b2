-- store::credentials: adds a user, or gives it a new password and enables it again; what is not named stays as it is
INSERT INTO mqtt_credentials AS held (username, tenant_id, password_hash, iccid, publish_topics, subscribe_topics, may_correct)
SELECT $1, t.id, /* hash */ $3, /* iccid */ $5, /* publish */ $7, /* subscribe */ $9, coalesce(/* may correct */ $10, false)
FROM tenants t
WHERE t.name = coalesce(/* tenant */ $2, (SELECT o.name FROM mqtt_credentials c JOIN tenants o ON o.id = c.tenant_id
                                          WHERE c.username = $1), 'default')
ON CONFLICT ON CONSTRAINT mqtt_credentials_pk DO UPDATE
SET tenant_id = excluded.tenant_id, password_hash = excluded.password_hash, enabled = true,
    iccid = CASE WHEN /* iccid is named */ $4 THEN excluded.iccid ELSE held.iccid END,
    publish_topics = CASE WHEN /* publish is named */ $6 THEN excluded.publish_topics ELSE held.publish_topics END,
    subscribe_topics = CASE WHEN /* subscribe is named */ $8 THEN excluded.subscribe_topics ELSE held.subscribe_topics END,
    may_correct = coalesce($10, held.may_correct)
