-- store::accounts: says for which SIM an account stands, or changes it; no row without such a tenant
INSERT INTO usage_accounts (tenant_id, account, source, iccid)
SELECT t.id, /* account */ $2, /* source */ $3, /* iccid */ $4 FROM tenants t WHERE t.name = /* tenant */ $1
ON CONFLICT ON CONSTRAINT usage_accounts_pk DO UPDATE SET iccid = excluded.iccid
