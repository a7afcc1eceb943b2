-- store::retention: deletes some old entries of the quarantine; NULL while another instance is at it
SELECT delete_old_quarantine(/* before */ $1, /* at most */ $2) AS deleted
