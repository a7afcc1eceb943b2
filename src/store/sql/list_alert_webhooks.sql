-- store::alert_webhooks: the webhooks of a tenant, with what waits and what was given up
SELECT w.id, w.url, w.created_at,
       (SELECT count(*) FROM alert_deliveries d WHERE d.webhook_id = w.id AND d.state = 'waiting') AS waiting,
       (SELECT count(*) FROM alert_deliveries d WHERE d.webhook_id = w.id AND d.state = 'failed') AS failed
FROM alert_webhooks w WHERE w.tenant_id = $1 ORDER BY w.id
