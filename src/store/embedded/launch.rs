//! From a complete cluster to a server that accepts connections.

use std::process::Stdio;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls};

use super::error::EmbeddedError;
use super::postmaster::{LeftBehind, PidFile, disown_stale_lock, end_orphaned_backends};
use super::process::{Server, arguments, wal_compression};
use super::{EmbeddedPostgres, POLL, socket};

const DATABASE_EXISTS: &str = include_str!("../sql/embedded_database_exists.sql");
const CREATE_DATABASE: &str = include_str!("../sql/embedded_create_database.sql");

/// Backends outlive a killed postmaster for a moment, and PostgreSQL does not start beside them.
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(1);

/// A server that is ready may make our database first; whoever asks too briefly makes it begin anew.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What a connection attempt tells about the server.
enum Answer {
    Ready,
    WrongPassword,
    /// It works, but does not give us our database.
    Refused(tokio_postgres::Error),
    NotYet(String),
}

impl EmbeddedPostgres {
    /// Takes over a server that was left behind; false when there is none to use, and none in the way either.
    pub(super) async fn adopt(&self, left: LeftBehind) -> Result<bool, EmbeddedError> {
        match left {
            LeftBehind::Nothing => Ok(false),
            LeftBehind::Foreign { pid } => {
                Err(EmbeddedError::InUse { path: self.layout.cluster.clone(), pid: Some(pid) })
            }
            LeftBehind::Mute { pid } => {
                tracing::warn!(pid, "a PostgreSQL left behind does not answer: stopping it");
                self.state().server = Some(Server::Adopted(pid));
                self.end_server().await?;
                Ok(false)
            }
            LeftBehind::Answers { pid, .. } => {
                self.state().server = Some(Server::Adopted(pid));
                let mark = self.log.len();
                match self.await_recovery(Instant::now() + self.start_timeout, mark).await {
                    Ok(()) => {
                        tracing::info!(pid, "adopted the PostgreSQL that a killed owner left behind");
                        Ok(true)
                    }
                    // It was already on its way down.
                    Err(EmbeddedError::StartFailed { .. }) => Ok(false),
                    Err(error) => Err(error),
                }
            }
        }
    }

    /// Starts the server and waits until it answers. Tries again while remains of a killed one are in the way.
    pub(super) async fn launch(&self) -> Result<(), EmbeddedError> {
        let began = Instant::now();
        let deadline = began + self.start_timeout;
        let mut pause = FIRST_RETRY;
        loop {
            if let Err(error) = self.log.rotate() {
                tracing::warn!(%error, "cannot shorten the PostgreSQL log");
            }
            let mark = self.log.len();
            self.spawn()?;
            match self.await_recovery(deadline, mark).await {
                Err(EmbeddedError::StartFailed { message, .. })
                    if is_passing(&message) && Instant::now() + pause < deadline =>
                {
                    tracing::debug!(message, "PostgreSQL cannot start yet");
                    end_orphaned_backends(&self.layout.cluster, &self.binaries.postgres());
                    sleep(pause).await;
                    pause = (pause * 2).min(LAST_RETRY);
                }
                Ok(()) => {
                    let took = began.elapsed();
                    tracing::info!(
                        pid = self.pid(),
                        version = self.binaries.major,
                        ?took,
                        "PostgreSQL is ready"
                    );
                    return Ok(());
                }
                failed => return failed,
            }
        }
    }

    fn spawn(&self) -> Result<(), EmbeddedError> {
        let log = self.log.open()?;
        let log_too = log.try_clone().map_err(EmbeddedError::io("open", self.log.path()))?;
        let cluster = &self.layout.cluster;
        for lock in [cluster.join("postmaster.pid"), self.socket_dir.join(socket::LOCK)] {
            disown_stale_lock(&lock, cluster).map_err(EmbeddedError::io("correct", &lock))?;
        }
        let program = self.binaries.postgres();
        let compression = wal_compression(self.account.command(&program), cluster);
        let mut command = self.account.command(&program);
        arguments(&mut command, cluster, &self.socket_dir, compression, &self.settings);
        command.stdout(Stdio::from(log)).stderr(Stdio::from(log_too));
        // Under the lock, so that a server is either known to `stop` or never started.
        let mut state = self.state();
        if state.stopping {
            return Err(EmbeddedError::Stopping);
        }
        state.server = Some(Server::Child(command.spawn().map_err(EmbeddedError::io("run", &program))?));
        Ok(())
    }

    /// Waits until the server is ready or has ended, and says after `deadline` that it does. A long recovery must be let finish:
    /// it would begin anew, and whoever ends it each time never sees the end.
    async fn await_recovery(&self, deadline: Instant, mark: u64) -> Result<(), EmbeddedError> {
        let mut deadline = deadline;
        loop {
            match self.await_ready(deadline, mark).await {
                Err(error @ EmbeddedError::StartTimeout { .. }) => {
                    tracing::warn!(pid = self.pid(), %error, "PostgreSQL takes long to start: waiting for it");
                    deadline = Instant::now() + self.start_timeout;
                }
                ended => return ended,
            }
        }
    }

    /// Waits until the server accepts connections and has the program's database.
    /// `mark`: the length of the log before the server was started.
    async fn await_ready(&self, deadline: Instant, mark: u64) -> Result<(), EmbeddedError> {
        let mut last = "it is still starting or recovering".to_owned();
        while Instant::now() < deadline {
            // Asked first: a server that fails to start has always written why before it ended.
            if let Some(how) = self.ended() {
                let message = format!("{} ({how})", self.log.reason_since(mark));
                return Err(EmbeddedError::StartFailed { message, log: self.log.path().to_owned() });
            }
            // Every attempt before that would leave a FATAL line in the server's log.
            let pid = self.pid();
            if !PidFile::read(&self.layout.cluster).is_some_and(|file| file.ready && file.pid == pid) {
                sleep(POLL).await;
                continue;
            }
            let until = deadline.max(Instant::now() + ANSWER_WITHIN);
            match timeout_at(until, ask(&self.config_for("postgres"))).await {
                Ok(Answer::Ready) => return Ok(()),
                Ok(Answer::WrongPassword) => {
                    return Err(EmbeddedError::PasswordRefused { path: self.layout.password() });
                }
                Ok(Answer::Refused(error)) => return Err(EmbeddedError::Database(error)),
                Ok(Answer::NotYet(why)) => last = why,
                Err(_) => break,
            }
            sleep(POLL).await;
        }
        Err(EmbeddedError::StartTimeout {
            after: self.start_timeout,
            message: last,
            log: self.log.path().to_owned(),
        })
    }
}

/// What a later attempt may not meet any more.
fn is_passing(message: &str) -> bool {
    message.contains("still in use") || (message.contains("lock file") && message.contains("already exists"))
}

/// Connects to the database that every cluster has: trying ours first would leave a FATAL line in the log of each
/// first start.
async fn ask(config: &Config) -> Answer {
    let (client, connection) = match config.connect(NoTls).await {
        Ok(connected) => connected,
        Err(error) if error.code() == Some(&SqlState::INVALID_PASSWORD) => return Answer::WrongPassword,
        Err(error) => return Answer::NotYet(innermost(&error)),
    };
    let made = tokio::select! {
        made = ensure_database(&client) => made,
        ended = connection => ended,
    };
    match made {
        Ok(()) => Answer::Ready,
        // Without a code the connection broke: the server is going down, not refusing.
        Err(error) if error.code().is_none() => Answer::NotYet(innermost(&error)),
        Err(error) => Answer::Refused(error),
    }
}

async fn ensure_database(client: &Client) -> Result<(), tokio_postgres::Error> {
    if client.query_one(DATABASE_EXISTS, &[]).await?.get(0) {
        return Ok(());
    }
    client.batch_execute(CREATE_DATABASE).await
}

/// "db error" and "error connecting to server" say nothing; their sources do.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
