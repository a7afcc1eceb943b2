-- store::file_imports: forgets how far a file was imported
UPDATE file_imports SET
    committed_bytes = 0, committed_lines = 0, stored = 0, duplicate = 0, parked = 0,
    started_at = now(), saved_at = now(), finished_at = NULL
WHERE id = $1
