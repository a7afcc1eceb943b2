-- store::archive: usage_exporting shows a table of records until the end of the transaction
SELECT view_usage_month(/* table */ $1)
