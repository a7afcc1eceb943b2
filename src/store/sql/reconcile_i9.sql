-- store::reconcile I9: no marker waits for longer than five minutes, and none for records that are gone
SELECT format('marker %s of write %s: %s records of %s to %s wait since %s', id, write_id, record_count, period_from, period_to,
              created_at) AS violation
FROM rollup_markers
WHERE created_at < now() - interval '5 minutes' OR period_from < (SELECT raw_floor FROM inventory_version)
LIMIT 1000
