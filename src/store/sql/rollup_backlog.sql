-- store::rollups: what waits for the rollup worker
SELECT count(*) AS markers, coalesce(sum(record_count), 0)::bigint AS records, min(created_at) AS oldest,
       (SELECT count(*) FROM zone_changes) AS zone_changes
FROM (SELECT record_count, created_at FROM rollup_markers ORDER BY id LIMIT 100000) AS m
