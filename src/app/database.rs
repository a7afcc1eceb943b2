use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info};

use crate::config::Config;
use crate::store::backup::Place;
use crate::store::embedded::{self, EmbeddedError, EmbeddedOptions, EmbeddedPostgres};
use crate::store::{PostgresAddress, Store, StoreError, StoreOptions, parse_url};
use crate::traces::Traces;

use super::StartError;

/// For so long a database of yours may take to answer at start: it may be starting too.
const FIRST_ANSWER: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_millis(500);

const POOLED: &str = "database.url leads to a pooler that gives each transaction another connection and loses prepared \
                      statements (PgBouncer in transaction mode): set database.prepared_statements = false";

/// Who wants the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The program that ingests: it alone runs the private PostgreSQL.
    Serve,
    /// A command that looks or mends: uses the server that runs, or runs one for itself.
    Command,
}

/// The database in use: yours, or a private one that ends with the program.
pub struct Database {
    pub store: Store,
    /// From which charts are read.
    pub standby: Option<Store>,
    /// The same for programs of PostgreSQL, which connect by themselves.
    pub place: Place,
    private: Option<Private>,
}

struct Private {
    postgres: Arc<EmbeddedPostgres>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Database {
    /// # Errors
    /// [`StartError`] when there is none that can be used.
    pub async fn open(config: &Config, owner: Owner) -> Result<Self, StartError> {
        if !config.database.url.is_empty() {
            let postgres = parse_url("database.url", &config.database.url)?;
            let database = Self::of(config, postgres, owner)?;
            database.await_answer().await?;
            if config.database.prepared_statements && !database.store.keeps_prepared_statements().await? {
                return Err(StartError::Refused(POOLED));
            }
            return Ok(database);
        }
        let postgres = match EmbeddedPostgres::start(embedded_options(config)).await {
            Ok(postgres) => postgres,
            Err(EmbeddedError::InUse { path, pid }) if owner == Owner::Command => {
                let Some(postgres) = embedded::running(&config.data_dir).await? else {
                    return Err(EmbeddedError::InUse { path, pid }.into());
                };
                return Ok(Self::of(config, postgres, owner)?);
            }
            Err(error) => return Err(error.into()),
        };
        if owner == Owner::Serve {
            info!(url = postgres.redacted_url(), adopted = postgres.adopted(), "private PostgreSQL runs");
        }
        let database = Self::of(config, postgres.config(), owner)?;
        Ok(Self { private: Some(Private::supervise(postgres)), ..database })
    }

    fn of(config: &Config, address: PostgresAddress, owner: Owner) -> Result<Self, StoreError> {
        let set = |path: &Path| (!path.as_os_str().is_empty()).then(|| path.to_owned());
        let (ca_file, bin_dir) = (set(&config.database.ca_file), set(&config.postgres.bin_dir));
        let store = store(config, address.clone(), owner)?;
        let standby = (owner == Owner::Serve).then(|| standby(config)).transpose()?.flatten();
        Ok(Self { store, standby, place: Place { address, ca_file, bin_dir }, private: None })
    }

    /// What is done with it is recorded.
    pub(super) fn traced(self, traces: &Traces) -> Self {
        Self {
            store: self.store.traced(traces.clone()),
            standby: self.standby.map(|standby| standby.traced(traces.clone())),
            ..self
        }
    }

    /// Stops the private PostgreSQL, if it is ours.
    pub async fn close(self) {
        self.store.close();
        self.standby.inspect(Store::close);
        if let Some(private) = self.private {
            private.stop.cancel();
            private.tasks.wait().await;
            if let Err(problem) = private.postgres.stop().await {
                error!(error = %problem, "private PostgreSQL did not stop");
            }
        }
    }

    async fn await_answer(&self) -> Result<(), StartError> {
        let deadline = tokio::time::Instant::now() + FIRST_ANSWER;
        loop {
            match self.store.ping().await {
                Ok(()) => return Ok(()),
                // The server answered; that it refuses us does not change by itself.
                Err(problem) if is_refusal(&problem) => return Err(problem.into()),
                Err(problem) if tokio::time::Instant::now() >= deadline => return Err(problem.into()),
                Err(_) => tokio::time::sleep(RETRY).await,
            }
        }
    }
}

impl Private {
    fn supervise(postgres: EmbeddedPostgres) -> Self {
        let private =
            Self { postgres: Arc::new(postgres), stop: CancellationToken::new(), tasks: TaskTracker::new() };
        private.tasks.spawn(private.postgres.clone().supervise(private.stop.clone()));
        private.tasks.close();
        private
    }
}

fn is_refusal(problem: &StoreError) -> bool {
    matches!(problem, StoreError::Config(_))
        || problem.code().is_some_and(|code| code.starts_with("28") || code == "3D000")
}

fn embedded_options(config: &Config) -> EmbeddedOptions {
    let mut options = EmbeddedOptions::new(&config.data_dir);
    let bin_dir = &config.postgres.bin_dir;
    options.bin_dir = (!bin_dir.as_os_str().is_empty()).then(|| bin_dir.clone());
    let buffers_mb = config.postgres.shared_buffers_mb;
    if buffers_mb != 0 {
        options.settings.push(("shared_buffers".into(), format!("{buffers_mb}MB")));
    }
    options
}

fn options(config: &Config, postgres: PostgresAddress, statement_timeout_ms: u64) -> StoreOptions {
    let database = &config.database;
    StoreOptions {
        postgres,
        pool_size: database.pool_size,
        prepared_statements: database.prepared_statements,
        statement_timeout: Duration::from_millis(statement_timeout_ms),
        duty_idle_timeout: Duration::from_millis(database.duty_idle_timeout_ms),
        ca_file: (!database.ca_file.as_os_str().is_empty()).then(|| database.ca_file.clone()),
    }
}

fn store(config: &Config, postgres: PostgresAddress, owner: Owner) -> Result<Store, StoreError> {
    let store = Store::new(options(config, postgres, config.database.statement_timeout_ms))?;
    Ok(if owner == Owner::Serve { store.of_service() } else { store })
}

/// Connected to when a chart is asked for: the program starts and runs without it.
fn standby(config: &Config) -> Result<Option<Store>, StoreError> {
    let database = &config.database;
    if database.read_url.is_empty() {
        return Ok(None);
    }
    let postgres = parse_url("database.read_url", &database.read_url)?;
    // It may be a pooler's address, which nobody tries at the start. Planning each time costs a chart about a millisecond.
    let options =
        StoreOptions { prepared_statements: false, ..options(config, postgres, database.read_timeout_ms) };
    Ok(Some(Store::new(options)?.of_standby()))
}
