-- store::file_imports: what is known of a file, which is entered when it is new
INSERT INTO file_imports AS held (tenant_id, name, size_bytes, digest)
VALUES (/* tenant_id */ $1, /* name */ $2, /* size_bytes */ $3, /* digest */ $4)
ON CONFLICT ON CONSTRAINT file_imports_file DO UPDATE SET name = excluded.name
RETURNING id, committed_bytes, committed_lines, stored, duplicate, parked, finished_at
