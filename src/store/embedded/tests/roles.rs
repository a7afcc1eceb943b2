//! Not tests: what other tests run as a process of its own. Where to work is told by an environment variable.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use super::*;

const DATA: &str = "SIMBRIDGE_TEST_DATA_DIR";

/// A process that has become an owner.
pub(super) struct Owner {
    process: Child,
    pub(super) postmaster: i32,
}

impl Owner {
    /// Runs the role `name` and waits until its server is ready.
    pub(super) fn run(name: &str, data: &Path) -> Self {
        let mut process = command(&std::env::current_exe().unwrap(), name, data).spawn().unwrap();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        let ready = stdout.lines().map_while(Result::ok).find_map(|line| {
            let said = line.split_once("ready ")?.1;
            said.trim().parse().ok()
        });
        Self { process, postmaster: ready.expect("the owner reports its server") }
    }

    pub(super) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }
}

/// The test binary `program`, running only the role `name`.
pub(super) fn command(program: &Path, name: &str, data: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["--exact", "--ignored", "--nocapture"]);
    command.arg(format!("store::embedded::tests::roles::{name}"));
    command.env(DATA, data).stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

fn data() -> PathBuf {
    std::env::var_os(DATA).expect("a role is run by a test, which says where").into()
}

async fn own(watched: bool) {
    let postgres = EmbeddedPostgres::start(options(&data())).await.unwrap();
    if watched {
        postgres.stop_when_this_process_ends(data().parent()).unwrap();
    }
    println!("ready {}", postgres.pid());
    std::io::stdout().flush().unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test]
#[ignore = "a role of other tests"]
async fn owner() {
    own(false).await;
}

#[tokio::test]
#[ignore = "a role of other tests"]
async fn watched_owner() {
    own(true).await;
}

/// All that matters, in one life: a first start, a kill of the server, a stop, a second start.
#[tokio::test]
#[ignore = "a role of other tests"]
async fn whole_life() {
    let postgres = std::sync::Arc::new(EmbeddedPostgres::start(options(&data())).await.unwrap());
    postgres.stop_when_this_process_ends(None).unwrap();
    connect(&postgres).await.batch_execute("CREATE TABLE kept (n int)").await.unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let supervisor = tokio::spawn(postgres.clone().supervise(stop.clone()));
    let killed = postgres.pid();
    send(killed, Signal::SIGKILL);
    until("another server runs", || ![0, killed].contains(&postgres.pid())).await;
    reconnect(&postgres).await.batch_execute("INSERT INTO kept VALUES (1)").await.unwrap();
    stop.cancel();
    supervisor.await.unwrap();
    postgres.stop().await.unwrap();

    let postgres = EmbeddedPostgres::start(options(&data())).await.unwrap();
    let rows = connect(&postgres).await.query("SELECT n FROM kept", &[]).await.unwrap();
    assert_eq!(rows.len(), 1);
    postgres.stop().await.unwrap();
    println!("lived as {}", nix::unistd::geteuid());
}

#[tokio::test]
#[ignore = "a role of other tests"]
async fn refused() {
    println!("refused: {}", EmbeddedPostgres::start(options(&data())).await.unwrap_err());
}
