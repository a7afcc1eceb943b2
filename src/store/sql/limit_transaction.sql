-- store::rollups: for how long a statement of this transaction may run, and for how long it may stand idle
-- A bridge that is frozen between two statements must not hold the rollup lock.
SELECT set_config('statement_timeout', /* milliseconds */ $1, true),
       set_config('idle_in_transaction_session_timeout', /* milliseconds */ $2, true)
