use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use simbridge::store::Store;
use simbridge::store::embedded::{EmbeddedOptions, EmbeddedPostgres};
use tokio_util::sync::CancellationToken;

/// A server of one test's own, with fsync, to be killed and stopped.
pub(crate) struct DurableServer {
    pub(crate) postgres: Arc<EmbeddedPostgres>,
    directory: PathBuf,
    supervision: CancellationToken,
}

impl DurableServer {
    /// Started and started again when it dies.
    pub(crate) async fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("simbridge-test-").tempdir().expect("a directory");
        Self::start_in(directory.keep()).await
    }

    /// In a directory that is removed when this process ends.
    pub(crate) async fn start_in(directory: PathBuf) -> Self {
        super::server::open_to_others(&directory);
        let postgres = Self::launch(&directory).await;
        let server = Self { postgres, directory, supervision: CancellationToken::new() };
        server.supervise();
        let store = server.store();
        store.migrate().await.expect("migrations apply");
        store.ensure_partitions(super::database::now(), 400).await.expect("partitions");
        server
    }

    async fn launch(directory: &Path) -> Arc<EmbeddedPostgres> {
        let mut options = EmbeddedOptions::new(directory.join("data"));
        options.start_timeout = super::PATIENCE;
        options.stop_timeout = Duration::from_secs(5);
        let postgres = EmbeddedPostgres::start(options).await.expect("PostgreSQL starts");
        postgres.stop_when_this_process_ends(Some(directory)).expect("a watchdog");
        Arc::new(postgres)
    }

    fn supervise(&self) {
        tokio::spawn(self.postgres.clone().supervise(self.supervision.clone()));
    }

    pub(crate) fn url(&self) -> String {
        self.postgres.url()
    }

    pub(crate) fn store(&self) -> Store {
        super::server::store(self.postgres.config())
    }

    pub(crate) async fn client(&self) -> tokio_postgres::Client {
        super::server::connect(&self.postgres.config()).await
    }

    /// SIGKILL to the postmaster and all its children, as a crash of the machine's PostgreSQL. It is started again.
    pub(crate) fn kill_everything(&self) {
        let postmaster = self.postgres.pid();
        let children = children_of(postmaster);
        for pid in std::iter::once(postmaster).chain(children) {
            // Some end by themselves when the first is gone.
            kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
        }
    }

    /// Stopped in order, and not started again.
    pub(crate) async fn stop(&self) {
        self.supervision.cancel();
        self.postgres.stop().await.expect("it stops");
    }

    pub(crate) async fn start_again(&mut self) {
        self.postgres = Self::launch(&self.directory).await;
        self.supervision = CancellationToken::new();
        self.supervise();
    }
}

fn children_of(parent: i32) -> Vec<i32> {
    let mut children = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // Behind the command in parentheses: state, then the parent (proc(5)).
        let ppid =
            stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse::<i32>().ok());
        if ppid == Some(parent)
            && let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok())
        {
            children.push(pid);
        }
    }
    children
}
