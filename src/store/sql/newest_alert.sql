-- store::alerts: the alert that was raised last, of all tenants
SELECT coalesce(max(id), 0) AS id FROM usage_alerts
