//! Connections of the pool.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Object, Pool, QueueMode, RecyclingMethod, Runtime, Timeouts,
};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{PostgresAddress, Statement, StoreError, statement};

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// With TLS and the login.
const CREATE_WITHIN: Duration = Duration::from_secs(10);

/// A cancellation that does not get through by then is not waited for.
const CANCEL_WITHIN: Duration = Duration::from_secs(1);
/// Finding a connection closed takes no round trip; this bounds what a later way to find out would.
const RECYCLE_WITHIN: Duration = Duration::from_secs(5);

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
        // The server's side of the one used last has its caches and temporary tables ready; in turn, each would grow its own.
        .queue_mode(QueueMode::Lifo)
        .runtime(Runtime::Tokio1)
        .timeouts(Timeouts {
            wait: Some(statement_timeout),
            create: Some(CREATE_WITHIN),
            recycle: Some(RECYCLE_WITHIN),
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
            let parameter: [(&(dyn ToSql + Sync), Type); 1] = [(&limit, Type::TEXT)];
            let set = client.query_typed(LIMIT_IDLE_TRANSACTIONS.sql, &parameter);
            // The limit of the pool does not cover hooks.
            match tokio::time::timeout(CONNECT_WITHIN, set).await {
                Ok(set) => set.map(drop).map_err(HookError::Backend),
                Err(_) => Err(HookError::message("the database did not answer")),
            }
        })
    })
}

/// Closes a connection whose statement was not answered in time, because its state is unknown. The statement is cancelled: left
/// alone, it would hold locks and a connection of the server for as long as it waits.
pub(super) async fn abandon(object: Object, tls: MakeRustlsConnect) {
    let abandoned = Object::take(object);
    let cancel = abandoned.cancel_token();
    // Best effort: a server that is gone needs no cancelling.
    tokio::time::timeout(CANCEL_WITHIN, cancel.cancel_query(tls)).await.ok();
}

/// A connection while it is used.
pub(super) struct Lease {
    /// `None` only while it is dropped.
    object: Option<Object>,
    /// For how long a statement that stands alone may stay without an answer.
    limit: Option<Duration>,
    tls: MakeRustlsConnect,
    unanswered: AtomicBool,
}

impl Lease {
    pub(super) fn new(object: Object, limit: Option<Duration>, tls: MakeRustlsConnect) -> Self {
        Self { object: Some(object), limit, tls, unanswered: AtomicBool::new(false) }
    }

    /// Waits for the answer to a statement, not for ever: a server, or what stands before it, can keep a connection open and
    /// say nothing any more.
    pub(super) async fn answer<T>(
        &self,
        statement: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let Some(limit) = self.limit else { return statement.await };
        match tokio::time::timeout(limit, statement).await {
            Ok(answer) => answer,
            Err(_) => {
                self.unanswered.store(true, Ordering::Relaxed);
                Err(StoreError::Timeout(limit.as_secs()))
            }
        }
    }
}

impl Deref for Lease {
    type Target = Object;

    fn deref(&self) -> &Object {
        self.object.as_ref().expect("it is there until it is dropped")
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Object {
        self.object.as_mut().expect("it is there until it is dropped")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Whoever was given it next would wait behind the same statement.
        if let Some(object) = self.object.take()
            && self.unanswered.load(Ordering::Relaxed)
        {
            tokio::spawn(abandon(object, self.tls.clone()));
        }
    }
}
