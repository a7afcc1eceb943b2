//! What systemd hears of the program, over a socket as systemd opens it.

use std::path::Path;

use nix::sys::signal::Signal;
use tokio::net::UnixDatagram;
use tokio::time::{Duration, Instant};

use crate::harness::PATIENCE;
use crate::harness::bridge::{BridgeOptions, BridgeProcess, simbridge};
use crate::harness::certificates::Certificates;
use crate::harness::database::TestDatabase;

/// `WatchdogSec=`: far below what anybody would set, so that the test takes seconds.
const WATCHDOG: Duration = Duration::from_secs(4);
/// The broker beats once a second, so signs for longer than this are not what was left from the start.
const SIGNS: usize = 8;

struct ServiceManager {
    socket: UnixDatagram,
    _directory: tempfile::TempDir,
}

impl ServiceManager {
    fn new(options: &mut BridgeOptions) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        for (name, value) in Self::environment(&path) {
            options.env.push((name.into(), value));
        }
        Self { socket, _directory: directory }
    }

    fn environment(path: &Path) -> [(&'static str, String); 2] {
        let path = path.to_str().expect("UTF-8").to_owned();
        [("NOTIFY_SOCKET", path), ("WATCHDOG_USEC", WATCHDOG.as_micros().to_string())]
    }

    /// The next that is no sign of life.
    async fn hears(&self) -> Vec<String> {
        loop {
            let lines = self.anything().await;
            if lines != ["WATCHDOG=1"] {
                return lines;
            }
        }
    }

    async fn anything(&self) -> Vec<String> {
        let mut buffer = [0; 4096];
        let heard = tokio::time::timeout(PATIENCE, self.socket.recv(&mut buffer)).await;
        let length = heard.expect("it says something").expect("a datagram");
        String::from_utf8_lossy(&buffer[..length]).lines().map(str::to_owned).collect()
    }

    /// What came already.
    fn drain(&self) -> usize {
        let mut buffer = [0; 4096];
        std::iter::from_fn(|| self.socket.try_recv(&mut buffer).ok()).count()
    }
}

/// Catches READY before the ports are served, no word of the end, and signs of life by a part that has stopped: without the beat
/// in `broker/listener.rs` they end after a second.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_manager_hears_that_the_program_is_ready_lives_and_stops() {
    let database = TestDatabase::new().await;
    let mut options = BridgeOptions::new(database.url());
    let manager = ServiceManager::new(&mut options);
    let bridge = BridgeProcess::start(&options).await;
    assert_eq!(manager.anything().await, ["READY=1", "STATUS=taking traffic"]);
    assert_eq!(bridge.get("/readyz").await.0, 200);
    let began = Instant::now();
    for _ in 0..SIGNS {
        assert_eq!(manager.anything().await, ["WATCHDOG=1"]);
    }
    // Four within the limit; the first comes at once.
    assert!(began.elapsed() > WATCHDOG / 4 * (SIGNS as u32 - 2), "more often than asked");

    bridge.signal(Signal::SIGTERM);
    assert_eq!(manager.hears().await, ["STOPPING=1", "STATUS=committing what was received"]);
    assert_eq!(bridge.ended().await, Some(0));
}

/// Catches READY from a program that then fails to start.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_cannot_start_is_never_ready() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    let mut command = simbridge();
    command.args(["serve", "--http-addr", "127.0.0.1:0", "--mqtt-addr"]);
    command.arg(taken.local_addr().expect("an address").to_string()).envs(ServiceManager::environment(&path));
    let status = tokio::time::timeout(PATIENCE, command.status()).await.expect("it ends").expect("it starts");
    assert_eq!(status.code(), Some(69));
    let mut buffer = [0; 64];
    assert!(socket.try_recv(&mut buffer).is_err(), "{}", String::from_utf8_lossy(&buffer));
}

/// Catches signs of life from outside of the program's own threads.
#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_program_gives_no_sign_of_life() {
    let database = TestDatabase::new().await;
    let mut options = BridgeOptions::new(database.url());
    let manager = ServiceManager::new(&mut options);
    let bridge = BridgeProcess::start(&options).await;
    manager.hears().await;
    manager.anything().await;
    bridge.signal(Signal::SIGSTOP);
    let state = format!("/proc/{}/stat", bridge.pid());
    crate::harness::eventually("it is frozen", async || {
        let stat = std::fs::read_to_string(&state).expect("it is there");
        stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T')).then_some(())
    })
    .await;
    manager.drain();
    assert!(
        tokio::time::timeout(WATCHDOG, manager.socket.readable()).await.is_err(),
        "nobody else speaks for it"
    );
    bridge.signal(Signal::SIGCONT);
    assert_eq!(manager.anything().await, ["WATCHDOG=1"]);
    assert_eq!(bridge.terminate().await, Some(0));
}

/// Catches a reload that ends the program where there is nothing to read again, and one that is never done.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_is_told_with_and_without_certificates() {
    let database = TestDatabase::new().await;
    let certificates = Certificates::create(&[]).await;
    for encrypted in [false, true] {
        let mut options = BridgeOptions::new(database.url());
        if encrypted {
            certificates.configure(&mut options);
        }
        let manager = ServiceManager::new(&mut options);
        let bridge = BridgeProcess::start(&options).await;
        assert_eq!(manager.hears().await[0], "READY=1");
        bridge.signal(Signal::SIGHUP);
        let heard = manager.hears().await;
        assert!(heard[0] == "RELOADING=1" && heard[1].starts_with("MONOTONIC_USEC="), "{heard:?}");
        assert_eq!(manager.hears().await[0], "READY=1", "encrypted: {encrypted}");
        assert_eq!(bridge.terminate().await, Some(0));
    }
}
