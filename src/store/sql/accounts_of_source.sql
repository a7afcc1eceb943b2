-- store::accounts: accounts that were named for a source, not for every source of the tenant
SELECT account
FROM usage_accounts
WHERE tenant_id = /* tenant */ $1 AND source = /* source */ $2
ORDER BY account
LIMIT /* at most */ $3
