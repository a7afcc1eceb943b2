-- store::pools: waits for whoever looks for alerts or changes rollups, and keeps them from it until the end of the transaction
SELECT pg_advisory_xact_lock(hashtext('simbridge.alerts')), pg_advisory_xact_lock(hashtext('simbridge.rollup'))
