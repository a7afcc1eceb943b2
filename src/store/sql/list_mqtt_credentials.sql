-- store::credentials: a page of users by name
SELECT c.username, t.name AS tenant_name, c.iccid, c.enabled, c.created_at,
       c.publish_topics IS NOT NULL OR c.subscribe_topics IS NOT NULL AS own_topics
FROM mqtt_credentials c JOIN tenants t ON t.id = c.tenant_id
WHERE c.username > $1 ORDER BY c.username LIMIT $2
