-- store::retention: forgets some keys of records that are gone; NULL while another instance is at it
SELECT delete_old_keys(/* before */ $1, /* at most */ $2) AS deleted
