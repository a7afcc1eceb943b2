-- store::partitions: monthly partitions for a range of period_start
SELECT ensure_partitions(/* earliest */ $1, /* latest */ $2)
