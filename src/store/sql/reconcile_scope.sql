-- store::reconcile: how much is covered
SELECT (SELECT count(*) FROM usage_records) AS records,
       (SELECT count(*) FROM provisioned_sims) AS sims,
       (SELECT count(*) FROM usage_cycles) AS cycles,
       (SELECT coalesce(sum(total_bytes), 0)::text FROM usage_records) AS total_bytes,
       (SELECT count(*) FROM quarantine WHERE state = 'parked') AS parked
