-- store::writes: the version of the inventory and the floor of raw records, read under the inventory lock
-- NULL stands for -infinity: every record is kept.
SELECT version, nullif(raw_floor, '-infinity') AS raw_floor FROM inventory_version
