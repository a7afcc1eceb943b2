-- store::sims: carriers that the inventory names
INSERT INTO carriers (name, mccmnc)
SELECT name, max(mccmnc) FROM unnest(/* name */ $1::text[], /* mccmnc */ $2::text[]) AS given (name, mccmnc)
WHERE name IS NOT NULL
GROUP BY name ORDER BY name
ON CONFLICT ON CONSTRAINT carriers_name_unique
DO UPDATE SET mccmnc = excluded.mccmnc
WHERE excluded.mccmnc IS NOT NULL AND carriers.mccmnc IS DISTINCT FROM excluded.mccmnc
