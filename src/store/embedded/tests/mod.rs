//! The launcher against the installed PostgreSQL.
//!
//! Every test has a data directory of its own under /tmp, which the account that runs the server can reach. What one
//! process cannot show about itself (being killed, being an ordinary user) is shown by running this test binary again
//! with one of the ignored tests in `roles`.

mod discovery;
mod lifecycle;
mod ordinary_user;
mod ownership;
mod roles;
mod start_failures;
mod supervision;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

use super::{EmbeddedOptions, EmbeddedPostgres};

const PATIENCE: Duration = Duration::from_secs(30);

/// A data directory that goes away with the test, and a server that does too, even if the test is killed.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("simbridge-pg-").tempdir_in("/tmp").unwrap();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(dir.path(), open).unwrap();
        Self { dir }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn cluster(&self) -> PathBuf {
        self.data().join("postgres")
    }

    fn options(&self) -> EmbeddedOptions {
        options(&self.data())
    }

    async fn start(&self) -> EmbeddedPostgres {
        let postgres = EmbeddedPostgres::start(self.options()).await.unwrap();
        postgres.stop_when_this_process_ends(Some(self.dir.path())).unwrap();
        postgres
    }
}

/// Nothing here depends on surviving a power cut, and several tests run at once.
fn options(data: &Path) -> EmbeddedOptions {
    let mut options = EmbeddedOptions::new(data);
    options.settings.push(("fsync".to_owned(), "off".to_owned()));
    options.settings.push(("shared_buffers".to_owned(), "16MB".to_owned()));
    options
}

async fn connect(postgres: &EmbeddedPostgres) -> Client {
    let (client, connection) = postgres.config().connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// [`connect`] to a server that may be starting again.
async fn reconnect(postgres: &EmbeddedPostgres) -> Client {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match postgres.config().connect(NoTls).await {
            Ok((client, connection)) => {
                tokio::spawn(connection);
                return client;
            }
            Err(error) => assert!(Instant::now() < deadline, "no connection: {error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn setting(client: &Client, name: &str) -> String {
    client.query_one("SELECT current_setting($1)", &[&name]).await.unwrap().get(0)
}

fn send(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    // A zombie whose parent is this process counts as gone: nobody here waits for a dropped server.
    let zombie = stat.is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z")));
    !zombie && kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH)
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The server's processes, found by their working directory.
fn processes_in(cluster: &Path) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter(|entry| std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == cluster))
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}
