-- store::mod: when this transaction, of work that one instance does at a time, is given up for an instance that is frozen or gone
SELECT set_config('idle_in_transaction_session_timeout', /* milliseconds */ $1, true),
       -- PostgreSQL on Windows cannot look, and refuses to be told to.
       CASE WHEN version() !~* 'visual c|msvc|mingw|cygwin|-windows' THEN set_config('client_connection_check_interval', '1s', true) END
