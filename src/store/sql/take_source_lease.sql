-- store::source_leases: takes a lease that nobody holds, unless the slot's run has ended or the source wants to be left alone
INSERT INTO source_leases AS held (source, holder, expires_at)
VALUES (/* source */ $1, /* holder */ $2, clock_timestamp() + make_interval(secs => /* seconds */ $3))
ON CONFLICT ON CONSTRAINT source_leases_pk DO UPDATE
SET holder = excluded.holder, expires_at = excluded.expires_at
WHERE held.expires_at <= clock_timestamp()
  AND coalesce(held.wait_until <= clock_timestamp(), true)
  -- No slot: whoever asks by hand. A slot that lies ahead was noted by a clock that was set back since.
  AND (/* slot */ $4::timestamptz IS NULL
       OR coalesce(held.finished_slot < $4 OR held.finished_slot > $4 + interval '1 hour', true))
