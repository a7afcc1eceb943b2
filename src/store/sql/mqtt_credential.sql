-- store::credentials: what may log in under this user name
SELECT c.password_hash, c.tenant_id, t.name AS tenant_name, c.may_correct, c.enabled, c.iccid, c.publish_topics,
       c.subscribe_topics, c.revision, c.created_at
FROM mqtt_credentials c JOIN tenants t ON t.id = c.tenant_id
WHERE c.username = $1
