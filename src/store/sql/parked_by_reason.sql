-- store::quarantine: how many records of all tenants are parked, by reason, counted up to a bound
SELECT counted.reason, count(*) AS parked
FROM (SELECT q.reason FROM quarantine q WHERE q.state = 'parked' LIMIT /* at most */ $1) AS counted
GROUP BY counted.reason
