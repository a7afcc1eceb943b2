//! Connections of the pool.

use std::time::Duration;

use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime, Timeouts};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{PostgresAddress, Statement, StoreError, statement};

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// With TLS and the login.
const CREATE_WITHIN: Duration = Duration::from_secs(10);

static LIMIT_IDLE_TRANSACTIONS: Statement = statement!("limit_idle_transactions", TEXT);

/// A pool of at most `size` connections, of which none takes part in a transaction for longer than `statement_timeout`
/// without doing something.
pub(super) fn pool(
    mut postgres: PostgresAddress,
    tls: MakeRustlsConnect,
    size: usize,
    statement_timeout: Duration,
) -> Result<Pool, StoreError> {
    // A server that vanished without a word is noticed by the kernel, not by a caller that waits for ever.
    postgres.connect_timeout(CONNECT_WITHIN).keepalives_idle(Duration::from_secs(30));
    postgres.tcp_user_timeout(statement_timeout);
    if postgres.get_application_name().is_none() {
        postgres.application_name("simbridge");
    }
    let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let pool = Pool::builder(Manager::from_config(postgres, tls, recycling))
        .max_size(size)
        .runtime(Runtime::Tokio1)
        .timeouts(Timeouts {
            wait: Some(statement_timeout),
            create: Some(CREATE_WITHIN),
            recycle: Some(Duration::from_secs(5)),
        })
        .post_create(limit_idle_transactions(statement_timeout));
    pool.build().map_err(|error| StoreError::Config(error.to_string()))
}

/// Behind a pooler that hands out another connection for each transaction it reaches those that it happens to meet, with the
/// value that all instances have.
fn limit_idle_transactions(limit: Duration) -> Hook {
    let limit = limit.as_millis().to_string();
    Hook::async_fn(move |client, _| {
        let limit = limit.clone();
        Box::pin(async move {
            let parameter =
                [(&limit as &(dyn tokio_postgres::types::ToSql + Sync), tokio_postgres::types::Type::TEXT)];
            let set = client.query_typed(LIMIT_IDLE_TRANSACTIONS.sql, &parameter);
            // The limit of the pool does not cover hooks.
            match tokio::time::timeout(CONNECT_WITHIN, set).await {
                Ok(set) => set.map(drop).map_err(HookError::Backend),
                Err(_) => Err(HookError::message("the database did not answer")),
            }
        })
    })
}
