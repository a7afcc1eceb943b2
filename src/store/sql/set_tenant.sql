-- store::tenants: changes zone and currency, where stated, unless plans of the tenant are in another currency
-- A change of the zone begins the move of its days (trigger tenants_zone_changed). Under the inventory lock: an import that
-- adds a plan comes before or after.
WITH asked AS (
    SELECT t.id, t.time_zone, t.currency,
           (SELECT min(p.currency) FROM rate_plans p WHERE p.tenant_id = t.id AND p.currency <> /* currency */ $3::text)
               AS plans_in
    FROM tenants t WHERE t.name = /* name */ $1
), changed AS (
    UPDATE tenants t SET time_zone = coalesce(/* zone */ $2::text, t.time_zone), currency = coalesce($3::text, t.currency)
    FROM asked WHERE t.id = asked.id AND asked.plans_in IS NULL
)
SELECT time_zone AS former_zone, currency AS former_currency, plans_in FROM asked
