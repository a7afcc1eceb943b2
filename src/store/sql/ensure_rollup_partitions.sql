-- store::partitions: monthly partitions of sim_daily_usage for a range of days
SELECT ensure_rollup_partitions(/* first day */ $1, /* last day */ $2)
