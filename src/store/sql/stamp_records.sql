-- store::sims: gives records of SIMs the owner, carrier, plan and cycle in force at their period_start
-- Those that never had an owner and, because a period may start ahead of the clock and a record may be stored while an import
-- waits for the inventory lock, those since the change.
SELECT stamp_records(/* iccids */ $1, /* since */ $2, /* now */ $3)
