-- store::source_leases: how the lease of a source stands
SELECT l.expires_at > clock_timestamp() AS held, l.finished_slot, l.last_error,
       CASE WHEN l.wait_until > clock_timestamp() THEN l.wait_until END AS wait_until
FROM source_leases l
WHERE l.source = /* source */ $1
