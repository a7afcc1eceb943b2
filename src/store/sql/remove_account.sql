-- store::accounts: forgets for which SIM an account stands
DELETE FROM usage_accounts a USING tenants t
WHERE t.id = a.tenant_id AND t.name = /* tenant */ $1 AND a.account = /* account */ $2 AND a.source = /* source */ $3
