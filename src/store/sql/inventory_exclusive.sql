-- store::sims: exclusive side of the inventory lock (see inventory_shared.sql)
SELECT pg_advisory_xact_lock(hashtext('simbridge.inventory'))
