-- store::tenants: adds one unless the name is taken; what is not stated is as the table has it
INSERT INTO tenants (name, time_zone, currency)
VALUES (/* name */ $1, coalesce(/* zone */ $2, 'UTC'), coalesce(/* currency */ $3, 'CHF'))
ON CONFLICT ON CONSTRAINT tenants_name_unique DO NOTHING RETURNING time_zone, currency
