-- store::archive: nobody changes the records that are being written to a file; backups may read them
LOCK TABLE usage_archiving IN SHARE MODE
