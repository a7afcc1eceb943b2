-- store::rollups: for how long a statement of this transaction may run, and when it is given up for an instance that is gone
-- A bridge that is frozen between two statements must not hold the rollup lock, nor the statement of one that died.
SELECT set_config('statement_timeout', /* milliseconds */ $1, true),
       set_config('idle_in_transaction_session_timeout', /* milliseconds */ $2, true),
       -- PostgreSQL on Windows cannot look, and refuses to be told to.
       CASE WHEN version() !~* 'visual c|msvc|mingw|cygwin|-windows' THEN set_config('client_connection_check_interval', '1s', true) END
