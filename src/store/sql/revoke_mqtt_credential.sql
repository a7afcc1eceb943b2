-- store::credentials: refuses a user from its next connection on
UPDATE mqtt_credentials SET enabled = false WHERE username = $1
