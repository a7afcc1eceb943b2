-- store::credentials: those of these users that may log in
SELECT c.username, c.revision FROM mqtt_credentials c WHERE c.enabled AND c.username = ANY(/* names */ $1)
