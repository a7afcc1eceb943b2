-- store::writes: the first id of a fresh block of 256
SELECT nextval('write_ids')
