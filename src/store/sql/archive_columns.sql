-- store::archive: columns of usage_exporting in their order, with what usage_records says of them
SELECT v.attname::text AS name, format_type(v.atttypid, v.atttypmod) AS type, NOT t.attnotnull AS nullable, t.atthasdef AS has_default
FROM pg_attribute v
JOIN pg_attribute t ON t.attrelid = 'usage_records'::regclass AND t.attname = v.attname AND NOT t.attisdropped
WHERE v.attrelid = 'pg_temp.usage_exporting'::regclass AND v.attnum > 0 AND NOT v.attisdropped
ORDER BY v.attnum
