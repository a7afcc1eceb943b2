-- store::reconcile: only one instance at a time checks in the background
SELECT pg_try_advisory_xact_lock(hashtext('simbridge.reconcile')) AS granted
