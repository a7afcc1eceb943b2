-- store::partitions: for how long partitions exist ahead of now, in days
SELECT coalesce(extract(day FROM to_date(max(substr(c.relname, length('usage_records_y') + 1)), 'YYYY"m"MM')
                            + interval '1 month' - $1::timestamptz), 0)::double precision AS days
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'usage_records'::regclass
