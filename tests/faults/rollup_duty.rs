//! Which of several instances rolls up.

/// What they call themselves at the database, as many as there are.
pub(crate) const NAMES: [&str; 4] = ["one", "two", "three", "four"];

/// Who of them holds the rollup lock now, and is in the middle of a chunk.
pub(crate) async fn leader(client: &tokio_postgres::Client) -> Option<usize> {
    let sql = "SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid)
               WHERE l.locktype = 'advisory' AND l.granted AND l.mode = 'ExclusiveLock'
                 AND l.objid = (hashtext('simbridge.rollup')::bigint & 4294967295)::oid";
    let row = client.query_opt(sql, &[]).await.expect("locks can be seen")?;
    NAMES.iter().position(|name| *name == row.get::<_, String>(0))
}
