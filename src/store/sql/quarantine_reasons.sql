-- store::quarantine: how many records of a tenant are parked for each reason, counted up to a bound
SELECT r.reason, c.parked FROM unnest(/* reasons */ $2::text[]) WITH ORDINALITY AS r (reason, place)
CROSS JOIN LATERAL (SELECT count(*) AS parked FROM (
    SELECT FROM quarantine q WHERE q.tenant_id = /* tenant */ $1 AND q.reason = r.reason AND q.state = 'parked'
    LIMIT /* at most */ $3) AS counted) AS c
WHERE c.parked > 0 ORDER BY c.parked DESC, r.place
