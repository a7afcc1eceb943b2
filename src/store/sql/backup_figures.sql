-- store::backup: what a backup has to hold, and a restored database too
SELECT (SELECT count(*) FROM usage_records) AS records,
       (SELECT coalesce(sum(total_bytes), 0)::text FROM usage_records) AS total_bytes,
       (SELECT count(*) FROM record_keys) AS keys,
       (SELECT count(*) FROM usage_cycles) AS cycles,
       (SELECT coalesce(sum(total_bytes), 0)::text FROM usage_cycles) AS cycle_bytes,
       (SELECT count(*) FROM provisioned_sims) AS sims,
       (SELECT count(*) FROM quarantine) AS quarantine
