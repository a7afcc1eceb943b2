-- store::archive: the month that is out of usage_records and in no file yet
SELECT id::text AS id, month FROM usage_archives WHERE state = 'pending'
