-- store::sim_diagnosis: records of an ICCID that are parked, by reason, with the ids of the newest
SELECT reason, count(*) AS entries, (array_agg(id ORDER BY id DESC))[1:20] AS ids, max(last_seen_at) AS last_seen_at
FROM quarantine
WHERE state = 'parked' AND iccid = /* iccid */ $1
GROUP BY reason ORDER BY reason
