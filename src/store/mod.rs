//! The one door to PostgreSQL: every statement stands in `sql/`, every function here runs one or one transaction of them.

pub mod accounts;
pub mod alert_webhooks;
pub mod alerts;
pub mod api_keys;
pub mod archive;
pub mod backup;
mod batch;
mod binary_copy;
pub mod chart_reads;
mod connections;
pub(crate) mod consumption;
mod consumption_breakdown;
mod consumption_invoices;
mod consumption_parts;
mod consumption_trend;
mod copying;
mod corrections;
mod counters;
pub mod credentials;
pub mod cycle_resets;
mod cycles;
pub mod dashboard;
pub mod dashboard_sessions;
mod directory;
pub mod embedded;
mod error;
pub mod file_imports;
pub mod idempotency;
pub mod invoices;
mod keys;
mod migrations;
pub mod mqtt_groups;
pub mod mqtt_sessions;
mod partitions;
pub(crate) mod pool_members;
mod pooler;
pub mod pools;
pub mod quarantine;
pub mod reconcile;
mod records;
pub mod retained;
pub mod retention;
pub mod roles;
pub mod rollups;
pub mod sessions;
pub mod settings;
pub(crate) mod sim_changes;
pub mod sim_diagnosis;
pub(crate) mod sim_lists;
pub mod sim_moves;
pub mod sim_repair;
pub(crate) mod sim_table;
pub(crate) mod sim_usage;
pub mod sims;
pub mod source_leases;
mod statement;
pub mod tenants;
mod tls;
mod totals;
mod writes;

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Object, Pool, Transaction};

use crate::traces::{self, Kind, Traces};

pub use batch::{KeyOutcome, NewRecord, WriteBatch, WriteOutcome};
use connections::Lease;
use copying::Copying;
use directory::SimDirectory;
pub use error::{Remedy, StoreError};
pub use migrations::{Migrated, MigrationError};
use statement::{Statement, StatementMode, statement};
use tokio_postgres_rustls::MakeRustlsConnect;
pub(crate) use writes::WRITE_ID_BLOCK;

/// Where a database is and who we are there.
pub type PostgresAddress = tokio_postgres::Config;

/// Reads `postgres://user:password@host/database` or `host=… user=…`, the value of a key of the configuration.
///
/// # Errors
/// [`StoreError::Config`] with what is wrong with it; the address itself, which may hold a password, is not repeated.
pub fn parse_url(key: &str, url: &str) -> Result<PostgresAddress, StoreError> {
    url.parse().map_err(|error: tokio_postgres::Error| StoreError::Config(format!("{key}: {error}")))
}

/// How to reach and use the database.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    pub postgres: PostgresAddress,
    /// Connections at most.
    pub pool_size: usize,
    /// False behind PgBouncer in transaction pooling mode.
    pub prepared_statements: bool,
    /// For how long one transaction may take before it is given up and tried again.
    pub statement_timeout: Duration,
    /// For how long a transaction of work that one instance does at a time may stand idle before the server ends it; not longer than
    /// `statement_timeout`.
    pub duty_idle_timeout: Duration,
    /// PEM file with the authority that signed the server's certificate, in addition to the machine's own.
    pub ca_file: Option<std::path::PathBuf>,
}

/// A pool of connections; cheap to clone.
#[derive(Clone)]
pub struct Store {
    pool: Pool,
    mode: StatementMode,
    timeout: Duration,
    duty_idle: Duration,
    /// Of statements outside transactions.
    lone_limit: Option<Duration>,
    /// To cancel a statement takes a connection of its own.
    tls: MakeRustlsConnect,
    directory: Arc<SimDirectory>,
    copying: Arc<Copying>,
    warned_settings: Arc<settings::WarnedSettings>,
    traces: Traces,
}

/// Statements that stand alone may take so many times [`StoreOptions::statement_timeout`]. By default that is two minutes: far longer
/// than they take, and shorter than the five after which records that wait for their rollup are a fault (I9).
const LONE_STATEMENT_TIMEOUTS: u32 = 4;

static PING: Statement = statement!("ping");
static LIMIT_DUTY: Statement = statement!("limit_duty", TEXT);

impl Store {
    /// Connects lazily: the first use opens the first connection.
    ///
    /// # Errors
    /// [`StoreError::Config`] when the options contradict each other or the authority file cannot be read.
    pub fn new(options: StoreOptions) -> Result<Self, StoreError> {
        let tls = tls::connector(options.ca_file.as_deref())?;
        let pool =
            connections::pool(options.postgres, tls.clone(), options.pool_size, options.statement_timeout)?;
        let mode = if options.prepared_statements { StatementMode::Prepared } else { StatementMode::Unnamed };
        Ok(Self {
            pool,
            mode,
            timeout: options.statement_timeout,
            duty_idle: options.duty_idle_timeout.min(options.statement_timeout),
            lone_limit: None,
            tls,
            directory: Arc::default(),
            copying: Arc::default(),
            warned_settings: Arc::default(),
            traces: Traces::default(),
        })
    }

    /// The same database for a service: a statement that is not answered is given up in the end, and its connection closed. A
    /// command waits, because somebody sits before it.
    #[must_use]
    pub fn of_service(self) -> Self {
        Self { lone_limit: Some(self.timeout * LONE_STATEMENT_TIMEOUTS), ..self }
    }

    /// A standby of the database, of which every statement is answered within the statement timeout or given up.
    #[must_use]
    pub fn of_standby(self) -> Self {
        Self { lone_limit: Some(self.timeout), ..self }
    }

    /// What is done with this store is recorded. Whoever works has a store, so nobody needs to be handed anything else for it.
    #[must_use]
    pub fn traced(self, traces: Traces) -> Self {
        Self { traces, ..self }
    }

    pub(crate) fn traces(&self) -> &Traces {
        &self.traces
    }

    /// One round trip.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let client = self.client().await?;
        PING.rows(&client, self.mode, &[]).await?;
        Ok(())
    }

    /// Closes the connections; nothing works after that.
    pub fn close(&self) {
        self.pool.close();
    }

    /// Runs a transaction of the write path. When it takes too long, its statement is cancelled and its connection closed,
    /// because its state is unknown: left alone, it would hold locks and a connection for as long as it waits.
    async fn in_time<T>(
        &self,
        work: impl AsyncFnOnce(&mut Object) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.within(self.timeout, work).await
    }

    /// The same with a limit of its own. Whoever may take longer than usual has to hear first that somebody answers at all.
    async fn within<T>(
        &self,
        limit: Duration,
        work: impl AsyncFnOnce(&mut Object) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut client = self.connection().await?;
        if limit > self.timeout {
            match tokio::time::timeout(self.timeout, PING.rows(&client, self.mode, &[])).await {
                Ok(answer) => drop(answer?),
                Err(_) => {
                    connections::abandon(client, self.tls.clone()).await;
                    return Err(StoreError::Timeout(self.timeout.as_secs()));
                }
            }
        }
        if let Ok(result) = tokio::time::timeout(limit, work(&mut client)).await {
            return result;
        }
        connections::abandon(client, self.tls.clone()).await;
        Err(StoreError::Timeout(limit.as_secs()))
    }

    /// Makes the server end this transaction soon when the instance freezes or dies in it: another one waits for its lock.
    async fn limit_duty(&self, tx: &Transaction<'_>) -> Result<(), StoreError> {
        LIMIT_DUTY.rows(tx, self.mode, &[&self.duty_idle.as_millis().to_string()]).await?;
        Ok(())
    }

    async fn client(&self) -> Result<Lease, StoreError> {
        Ok(Lease::new(self.connection().await?, self.lone_limit, self.tls.clone()))
    }

    async fn connection(&self) -> Result<Object, StoreError> {
        let waiting = traces::step("connection", Kind::Internal);
        let connection = waiting.around(self.pool.get()).await.map_err(StoreError::from);
        statement::tell(&waiting, &connection);
        connection
    }
}
