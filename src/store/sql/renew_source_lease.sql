-- store::source_leases: keeps a lease that is still one's own
UPDATE source_leases
SET expires_at = clock_timestamp() + make_interval(secs => /* seconds */ $3)
WHERE source = /* source */ $1 AND holder = /* holder */ $2
