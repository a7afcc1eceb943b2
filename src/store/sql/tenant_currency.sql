-- store::sim_changes: the currency in which the plans of a tenant are
SELECT t.currency FROM tenants t WHERE t.id = /* tenant */ $1
