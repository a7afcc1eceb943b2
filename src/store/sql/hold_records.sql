-- store::reconcile: keeps retention from dropping records until the end of the transaction
-- First of all: it takes no snapshot, so that the one that follows has the floor that fits the records which are there.
LOCK TABLE usage_records IN ACCESS SHARE MODE
