-- store::rollups: the rollup lock until the end of the transaction, unless another instance holds it
SELECT pg_try_advisory_xact_lock(hashtext('simbridge.rollup')) AS granted
