-- store::archive: the table into which an archive is read
SELECT make_restoring_table()
