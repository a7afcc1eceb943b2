-- store::alert_webhooks: a webhook and everything that was to be sent to it
DELETE FROM alert_webhooks w WHERE w.tenant_id = $1 AND w.id = $2
