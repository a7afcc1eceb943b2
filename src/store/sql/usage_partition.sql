-- store::archive: the partition of a month; no row when there is none
SELECT c.relname::text AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'usage_records'::regclass AND c.relname = usage_partition_name(/* month */ $1)
