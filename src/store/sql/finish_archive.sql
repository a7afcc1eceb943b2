-- store::archive: the pending month is in a file
UPDATE usage_archives
SET state = 'archived', archived_at = /* now */ $2, file = /* path */ $3, file_bytes = /* size */ $4, file_sha256 = /* digest */ $5,
    manifest = /* JSON */ $6
WHERE id = /* archive */ $1::text::uuid AND state = 'pending'
