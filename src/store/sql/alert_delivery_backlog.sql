-- store::alert_webhooks: how many deliveries wait
SELECT count(*) AS waiting FROM alert_deliveries d WHERE d.state = 'waiting'
