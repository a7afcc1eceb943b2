-- store::archive: one archive command at a time
SELECT pg_try_advisory_xact_lock(hashtext('simbridge.archive')) AS granted
