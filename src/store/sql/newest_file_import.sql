-- store::file_imports: the file that was entered last among those whose names begin like this
SELECT name, id, committed_bytes, committed_lines, stored, duplicate, parked, finished_at
FROM file_imports
WHERE tenant_id = $1 AND starts_with(name, /* beginning */ $2)
ORDER BY id DESC LIMIT 1
