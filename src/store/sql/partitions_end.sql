-- store::partitions: when the last partition ends, in Unix seconds; NULL without any
SELECT extract(epoch FROM (to_date(max(substr(c.relname, length('usage_records_y') + 1)), 'YYYY"m"MM')
                           + interval '1 month') AT TIME ZONE 'UTC')::bigint AS ends_at
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'usage_records'::regclass
