-- store::credentials: refuses a user; its connections end when the instances notice
UPDATE mqtt_credentials SET enabled = false WHERE username = $1
