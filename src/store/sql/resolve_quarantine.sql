-- store::quarantine: takes a record out of the list of parked ones
UPDATE quarantine SET state = $2, resolved_at = now() WHERE id = $1 AND state = 'parked'
