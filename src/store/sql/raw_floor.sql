-- store::retention: the floor of raw records, whether it or what lies below it has to change, and what is in the way: records that
-- have to be archived first, or a marker
WITH bounds AS (
    -- The floor as it is, and as it should be.
    SELECT v.raw_floor, greatest(v.raw_floor, raw_floor_due(/* now */ $1, /* raw days */ $2)) AS due FROM inventory_version v
)
SELECT nullif(raw_floor, '-infinity') AS raw_floor,
       raw_floor < due OR EXISTS (SELECT FROM usage_partitions_below(due)) AS due,
       archive_comes_first() AND EXISTS (SELECT FROM usage_records r WHERE r.period_start < bounds.due) AS unarchived,
       EXISTS (SELECT FROM rollup_markers m WHERE m.period_from < bounds.due) AS waiting
FROM bounds
