-- store::writes: leaves the rollup marker of a batch; its transaction's time is when its records were processed
INSERT INTO rollup_markers (write_id, period_from, period_to, record_count)
VALUES (/* write_id */ $1, /* period_from */ $2, /* period_to */ $3, /* record_count */ $4)
RETURNING now() AS processed_at
