//! A private PostgreSQL for those who bring none: started from installed binaries on a Unix socket, stopped on exit.
//!
//! [`EmbeddedPostgres::start`] takes a lock on the data directory, finds binaries that fit its version, makes the
//! cluster if there is none, and either adopts the server that a killed owner left behind or starts one. The owner
//! spawns [`EmbeddedPostgres::supervise`] and, after its last commit, calls [`EmbeddedPostgres::stop`].
//!
//! ```text
//! data/postgres            the cluster, owned by the account that runs the server
//! data/postgres.password   the superuser's password, 0600
//! data/postgres.log        what the server says, at most 10 MB and a predecessor
//! data/postgres.lock       held by the owner, names its process
//! data/run                 the socket; in the user's runtime directory or /tmp when the path would be too long
//! ```

mod account;
mod binaries;
mod cluster;
mod error;
mod guest;
mod launch;
mod lock;
mod memory;
mod postmaster;
mod process;
mod server_log;
mod socket;
mod supervise;
#[cfg(test)]
mod tests;
mod watchdog;

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep};
use tokio_postgres::Config;

use account::Account;
pub(super) use account::inherited_environment;
use binaries::Binaries;
pub(super) use binaries::dump_programs;
use cluster::Layout;
pub use cluster::has_cluster;
pub use error::EmbeddedError;
pub use guest::running;
use lock::DataDirLock;
use postmaster::LeftBehind;
use process::Server;
use server_log::ServerLog;

const SUPERUSER: &str = "simbridge";
const DATABASE: &str = "simbridge";

/// How often a server that starts or stops is looked at.
const POLL: Duration = Duration::from_millis(10);

/// PostgreSQL itself kills its backends 5 seconds after an immediate shutdown began.
const IMMEDIATE_STOP: Duration = Duration::from_secs(10);

/// What the private PostgreSQL needs to know.
#[derive(Debug, Clone)]
pub struct EmbeddedOptions {
    /// The program's data directory; the cluster is `postgres` in it.
    pub data_dir: PathBuf,
    /// Where `postgres` and `initdb` are; searched for when not set.
    pub bin_dir: Option<PathBuf>,
    /// Further PostgreSQL settings, which win over the launcher's defaults.
    pub settings: Vec<(String, String)>,
    /// How often a start that lasts is told; an ordinary one takes a fraction of a second. It is not given up.
    pub start_timeout: Duration,
    /// How long an orderly shutdown may take before PostgreSQL is told to drop everything: it writes what changed since the
    /// last checkpoint, up to all of the shared buffers.
    pub stop_timeout: Duration,
}

impl EmbeddedOptions {
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            bin_dir: None,
            settings: Vec::new(),
            start_timeout: Duration::from_secs(120),
            stop_timeout: Duration::from_secs(60),
        }
    }
}

/// A running private PostgreSQL. Dropped without [`stop`](Self::stop), it is told to stop and not waited for.
#[derive(Debug)]
pub struct EmbeddedPostgres {
    layout: Layout,
    account: Account,
    binaries: Binaries,
    socket_dir: PathBuf,
    password: String,
    log: ServerLog,
    settings: Vec<(String, String)>,
    start_timeout: Duration,
    stop_timeout: Duration,
    adopted: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    server: Option<Server>,
    /// From here on nothing starts a server any more.
    stopping: bool,
    lock: Option<DataDirLock>,
}

impl EmbeddedPostgres {
    /// Returns when the server accepts connections and the database exists. Cancel-safe: a server that was started
    /// is told to stop.
    ///
    /// # Errors
    /// See [`EmbeddedError`].
    pub async fn start(options: EmbeddedOptions) -> Result<Self, EmbeddedError> {
        let layout = Layout::open(&options.data_dir)?;
        let lock = DataDirLock::take(&layout.lock()).await?;
        let account = Account::choose(&layout.cluster)?;
        account.require_passage(&layout.root, true)?;
        let major = layout.major()?;
        let binaries = binaries::find(options.bin_dir.as_deref(), major, &layout.cluster)?;
        account.require_passage(&binaries.dir, false)?;
        let password = cluster::password(&layout, &account, major.is_some())?;
        if major.is_none() {
            cluster::create(&layout, &account, &binaries).await?;
            tracing::info!(path = %layout.cluster.display(), version = binaries.major, "made a PostgreSQL cluster");
        }
        let left = postmaster::find(&layout, options.start_timeout).await;
        let socket_dir = match &left {
            LeftBehind::Answers { socket_dir, .. } => socket_dir.clone(),
            _ => socket::directory(&layout.root, &account)?,
        };
        let mut postgres = Self {
            log: ServerLog::new(layout.log()),
            layout,
            account,
            binaries,
            socket_dir,
            password,
            settings: options.settings,
            start_timeout: options.start_timeout,
            stop_timeout: options.stop_timeout,
            adopted: false,
            state: Mutex::new(State { server: None, stopping: false, lock: Some(lock) }),
        };
        postgres.adopted = postgres.adopt(left).await?;
        if !postgres.adopted {
            postgres.launch().await?;
        }
        Ok(postgres)
    }

    /// How to connect to the program's database, as superuser.
    pub fn config(&self) -> Config {
        self.config_for(DATABASE)
    }

    /// How to connect to another database of this server, as superuser.
    pub fn config_for(&self, dbname: &str) -> Config {
        let mut config = Config::new();
        config.host_path(&self.socket_dir).user(SUPERUSER).password(&self.password).dbname(dbname);
        config
    }

    /// A connection string that psql and other clients understand. It contains the password.
    pub fn url(&self) -> String {
        self.url_with(&self.password)
    }

    /// [`url`](Self::url) for logs.
    pub fn redacted_url(&self) -> String {
        self.url_with("***")
    }

    fn url_with(&self, password: &str) -> String {
        let mut url = format!("postgresql://{SUPERUSER}:{password}@/{DATABASE}?host=");
        for byte in self.socket_dir.as_os_str().as_bytes() {
            if byte.is_ascii_alphanumeric() || b"/-._~".contains(byte) {
                url.push(char::from(*byte));
            } else {
                write!(url, "%{byte:02X}").expect("writing to a String cannot fail");
            }
        }
        url
    }

    /// The postmaster's process id; another one after a restart, 0 once it was stopped.
    pub fn pid(&self) -> i32 {
        self.state().server.as_ref().map_or(0, Server::pid)
    }

    /// Whether [`start`](Self::start) found the server running, left behind by a killed owner.
    pub fn adopted(&self) -> bool {
        self.adopted
    }

    /// Stops the server, started or adopted, and frees the data directory. Does nothing when it was stopped before.
    ///
    /// # Errors
    /// [`EmbeddedError::StopTimeout`] when not even an immediate shutdown ended it.
    pub async fn stop(&self) -> Result<(), EmbeddedError> {
        self.state().stopping = true;
        self.end_server().await?;
        socket::remove_if_far(&self.socket_dir, &self.layout.root);
        self.state().lock = None;
        Ok(())
    }

    /// Fast shutdown (open transactions are rolled back, a checkpoint is written), then, when that takes too long,
    /// immediate shutdown, which costs a recovery at the next start.
    async fn end_server(&self) -> Result<(), EmbeddedError> {
        for (signal, patience) in [(Signal::SIGINT, self.stop_timeout), (Signal::SIGQUIT, IMMEDIATE_STOP)] {
            if let Some(server) = &mut self.state().server {
                server.signal(signal, &self.layout.cluster);
            }
            let deadline = Instant::now() + patience;
            while Instant::now() < deadline {
                if self.ended().is_some() {
                    self.state().server = None;
                    return Ok(());
                }
                sleep(POLL).await;
            }
            tracing::warn!(pid = self.pid(), %signal, ?patience, "PostgreSQL is slow to stop");
        }
        Err(EmbeddedError::StopTimeout { pid: self.pid() })
    }

    /// How the server ended, if it does not run.
    fn ended(&self) -> Option<String> {
        match &mut self.state().server {
            Some(server) => server.ended(&self.layout.cluster),
            None => Some("not running".to_owned()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of the state is a single assignment, so a panic elsewhere cannot have left it half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for EmbeddedPostgres {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = &mut state.server {
            server.signal(Signal::SIGINT, &self.layout.cluster);
        }
    }
}
