-- store::source_leases: gives a lease back and notes what came of it
UPDATE source_leases
SET expires_at = clock_timestamp(),
    finished_slot = coalesce(/* slot */ $3::timestamptz, finished_slot),
    wait_until = clock_timestamp() + make_interval(secs => /* wait seconds */ $4),
    -- A run that was cut short, or one by hand, says nothing about the schedule.
    last_error = CASE WHEN $3 IS NULL THEN last_error ELSE /* error */ $5 END
WHERE source = /* source */ $1 AND holder = /* holder */ $2
