-- store::credentials: changes what a user may do; what is not named stays as it is
UPDATE mqtt_credentials
SET iccid = CASE WHEN /* iccid is named */ $2 THEN $3 ELSE iccid END,
    publish_topics = CASE WHEN /* publish is named */ $4 THEN $5 ELSE publish_topics END,
    subscribe_topics = CASE WHEN /* subscribe is named */ $6 THEN $7 ELSE subscribe_topics END,
    may_correct = coalesce(/* may correct */ $8, may_correct)
WHERE username = $1
