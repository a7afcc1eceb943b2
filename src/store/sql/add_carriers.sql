-- store::sims: carriers that a tenant names for the first time; those that exist belong to all tenants and stay as they are
INSERT INTO carriers (name, mccmnc)
SELECT name, max(mccmnc) FROM unnest(/* name */ $1::text[], /* mccmnc */ $2::text[]) AS given (name, mccmnc)
WHERE name IS NOT NULL
GROUP BY name ORDER BY name
ON CONFLICT ON CONSTRAINT carriers_name_unique DO NOTHING
