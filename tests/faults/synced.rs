//! Power loss, which no kill can show: what is in the page cache survives a kill. What is counted is whether PostgreSQL told
//! the disk before devices were told.

use std::path::Path;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use crate::effort::either;
use crate::harness::bridge::BridgeProcess;
use crate::harness::durable::DurableServer;
use crate::harness::mqtt::{Answer, Hello, MqttClient};
use crate::harness::pipeline::record;
use crate::harness::{PATIENCE, eventually};

const TOPIC: &str = "simportal/sims/8941000000000000001/usage";

/// Watches what PostgreSQL's processes, those to come included, ask of the disk.
struct Strace {
    child: Child,
    output: tempfile::NamedTempFile,
}

impl Strace {
    /// `None` where there is no strace, or it may not look.
    async fn attach(server: &DurableServer) -> Option<Self> {
        let output = tempfile::NamedTempFile::new().expect("a file");
        let mut command = Command::new("strace");
        command.args(["-f", "-e", "trace=fdatasync,fsync", "-o"]).arg(output.path());
        command.args(["-p", &server.pid().to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let Ok(mut child) = command.spawn() else {
            assert!(std::env::var_os("CI").is_none(), "install strace");
            eprintln!("NOT RUN: install strace to run this test");
            return None;
        };
        let status = format!("/proc/{}/status", server.pid());
        let attached = eventually("strace is attached or has ended", async || {
            let status = std::fs::read_to_string(Path::new(&status)).expect("the server runs");
            if status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0")) {
                return Some(true);
            }
            child.try_wait().expect("it is ours").map(|_| false)
        })
        .await;
        if !attached {
            eprintln!("NOT RUN: strace may not look at other processes here");
        }
        attached.then_some(Self { child, output })
    }

    /// Calls that succeeded.
    fn syncs(&self) -> usize {
        let log = std::fs::read_to_string(self.output.path()).expect("it can be read");
        log.lines().filter(|line| line.contains("sync") && line.ends_with("= 0")).count()
    }

    async fn end(mut self) {
        let pid = self.child.id().expect("it runs");
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGINT).expect("it is ours");
        tokio::time::timeout(PATIENCE, self.child.wait())
            .await
            .expect("it ends")
            .expect("it can be waited for");
    }
}

/// One record after the other, each acknowledged before the next is sent: each acknowledgement is a group of its own.
///
/// Catches `synchronous_commit = off` in the transaction of a batch, in the role or in the server that the program starts:
/// then the disk is told five times a second, whatever was acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn the_disk_is_told_before_each_acknowledgement() {
    let server = DurableServer::start().await;
    // Before the program connects, so that all its connections are seen from their first moment.
    let Some(strace) = Strace::attach(&server).await else { return };
    let bridge = BridgeProcess::start(&crate::harness::bridge::BridgeOptions::new(server.url())).await;
    let hello = Hello { v5: false, id: "meter", user: None, password: None };
    let mut client = MqttClient::connect(bridge.mqtt, hello).await;
    assert_eq!(client.publish(TOPIC, &record("first", 0, 1, 1)).await, Answer::Acknowledged);
    let records = either(100, 2_000);
    let before = strace.syncs();
    for n in 0..records {
        let payload = record(&format!("r-{n}"), 0, 1, 1);
        assert_eq!(client.publish(TOPIC, &payload).await, Answer::Acknowledged);
        assert!(strace.syncs() > before + n, "{n} records were acknowledged before");
    }
    strace.end().await;
    assert_eq!(bridge.terminate().await, Some(0));
}
