-- store::api_keys: refuses a key for good
UPDATE api_keys k SET enabled = false, revoked_at = coalesce(k.revoked_at, /* now */ $3)
FROM tenants t WHERE t.id = k.tenant_id AND t.name = /* tenant */ $1 AND k.name = /* name */ $2
