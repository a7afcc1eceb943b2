-- store::alert_webhooks: a new webhook, unless the tenant has one with this address
INSERT INTO alert_webhooks (tenant_id, url, secret, created_at) VALUES ($1, $2, $3, $4)
ON CONFLICT ON CONSTRAINT alert_webhooks_url_unique DO NOTHING
RETURNING id
