-- store::accounts: a page of accounts, by tenant, account and source
SELECT t.name AS tenant, a.account, a.source, a.iccid, s.sim_id IS NOT NULL AS provisioned
FROM usage_accounts a
JOIN tenants t ON t.id = a.tenant_id
LEFT JOIN provisioned_sims s ON s.iccid = a.iccid
WHERE (t.name, a.account, a.source) > (/* after: tenant */ $1, /* account */ $2, /* source */ $3)
ORDER BY t.name, a.account, a.source
LIMIT /* page */ $4
