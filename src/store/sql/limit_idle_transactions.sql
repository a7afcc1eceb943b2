-- store::connections: for how long a transaction of this connection may stand idle before the server ends it
-- Milliseconds. The server may believe for hours in a connection whose other end is frozen or gone, and the transaction's locks
-- keep the same records, and imports, waiting for as long.
SELECT set_config('idle_in_transaction_session_timeout', $1, false)
