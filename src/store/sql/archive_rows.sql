-- store::archive: the records of a month, in the order in which they stand in its file
COPY (SELECT * FROM usage_exporting ORDER BY iccid, period_start, id) TO STDOUT (FORMAT binary)
