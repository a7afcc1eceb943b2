-- store::retention: for how long a statement of this transaction may wait for a lock
SELECT set_config('lock_timeout', /* milliseconds */ $1, true)
