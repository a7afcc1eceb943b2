-- store::sims: rate plans that the inventory names; a value that it does not state stays as it is
INSERT INTO rate_plans AS held (tenant_id, name, price_per_mb, included_bytes, currency)
SELECT $1, name, coalesce(max(price), 0), coalesce(max(included), 0),
       coalesce(max(currency), (SELECT t.currency FROM tenants t WHERE t.id = $1))
FROM unnest(/* name */ $2::text[], /* price_per_mb */ $3::text[]::numeric[], /* included_bytes */ $4::bigint[],
            /* currency */ $5::text[]) AS given (name, price, included, currency)
WHERE name IS NOT NULL
GROUP BY name ORDER BY name
ON CONFLICT ON CONSTRAINT rate_plans_name_unique DO NOTHING
