-- store::consumption: usage of a range of days by place, the largest first
SELECT 'place_' || substr(md5(l.place), 1, 16) AS id, l.place, l.latitude, l.longitude, l.total_bytes::text AS bytes,
       round(l.total_bytes / 1048576, 6)::float8 AS megabytes, round(l.total_bytes / 1073741824, 9)::float8 AS gigabytes, l.sims
FROM usage_of_places(/* tenant */ $1, /* first */ $2, /* last */ $3, /* iccids */ $4, /* networks */ $5, /* limit */ $6) AS l
ORDER BY l.total_bytes DESC, l.place
