-- A login with the role `ingest` stores records. It checks no passwords, so it need not read what they could be guessed from.

UPDATE database_grants SET names = array_remove(names, 'mqtt_credentials')
WHERE kind = 'ingest' AND 'mqtt_credentials' = ANY (names);
