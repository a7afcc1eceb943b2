-- store::archive: records of an archive, with all columns of the table
COPY usage_restoring FROM STDIN (FORMAT binary)
