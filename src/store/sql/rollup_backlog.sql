-- store::rollups: what waits for the rollup worker; ages by the database's clock, which dated the markers
SELECT count(*) AS markers, coalesce(sum(record_count), 0)::bigint AS records,
       extract(epoch FROM clock_timestamp() - min(created_at))::double precision AS oldest_age_seconds,
       (SELECT count(*) FROM zone_changes) AS zone_changes
FROM (SELECT record_count, created_at FROM rollup_markers ORDER BY id LIMIT 100000) AS m
