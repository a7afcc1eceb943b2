-- store::backup: lets a program of PostgreSQL see what this transaction sees, for as long as it needs
SELECT pg_export_snapshot() AS snapshot, current_setting('server_version_num')::integer AS server_version,
       (SELECT quote_ident(n.nspname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.oid = 'usage_records'::regclass) AS schema,
       -- Nothing is said here while the other program works.
       set_config('idle_in_transaction_session_timeout', '0', true) AS unlimited
