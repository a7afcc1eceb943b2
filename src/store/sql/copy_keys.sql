-- store::copying: claims the keys of a large batch, all of which are new
COPY record_keys (tenant_id, iccid, record_id, fingerprint, period_start, write_id) FROM STDIN (FORMAT binary)
