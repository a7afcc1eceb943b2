-- store::archive: drops the records that are in a file
SELECT drop_archived_month()
