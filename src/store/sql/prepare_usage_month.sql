-- store::archive: what a month needs before it can be a part of usage_records again, while others go on
SELECT remembered, seen_version, moved FROM prepare_usage_month(/* archive */ $1::text::uuid)
