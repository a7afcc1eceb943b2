-- store::alert_webhooks: whether a tenant has a webhook
SELECT FROM alert_webhooks w WHERE w.tenant_id = $1 AND w.id = $2
