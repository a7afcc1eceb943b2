-- store::archive: all that is known of archives, oldest month first
SELECT id::text AS id, month, state, taken_out_at, archived_at, restored_at, file, file_bytes, file_sha256, manifest
FROM usage_archives
ORDER BY month, taken_out_at
