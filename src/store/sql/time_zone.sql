-- store::tenants: a time zone as PostgreSQL spells it; nothing when it knows none of this name
-- Names alone: POSIX forms such as UTC+2, which mean the opposite of what they seem to, are not among them.
SELECT name FROM pg_timezone_names WHERE lower(name) = lower(/* name */ $1) ORDER BY name = $1 DESC LIMIT 1
