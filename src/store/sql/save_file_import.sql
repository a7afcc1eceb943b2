-- store::file_imports: notes how far a file is committed, and when that is all of it
UPDATE file_imports SET
    committed_bytes = $2, committed_lines = $3, stored = $4, duplicate = $5, parked = $6,
    saved_at = now(), finished_at = CASE WHEN /* finished */ $7::boolean THEN now() END
WHERE id = $1
  -- A save that was given up may arrive after the one that followed it.
  AND committed_bytes <= $2 AND finished_at IS NULL
