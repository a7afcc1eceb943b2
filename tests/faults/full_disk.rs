//! The disk of PostgreSQL is full.

use std::path::{Path, PathBuf};
use std::process::Command;

use tokio::time::{Duration, Instant};

use crate::effort::either;
use crate::harness::durable::DurableServer;
use crate::harness::eventually;
use crate::scene::Scene;

/// Enough for a cluster and some minutes of load.
const DISK_MIB: u32 = 320;

/// A disk in memory of a fixed size; unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where nobody lets us mount, as in an ordinary account or a container without that right.
    fn mount() -> Option<Self> {
        let directory =
            tempfile::Builder::new().prefix("simbridge-test-disk-").tempdir().expect("a directory");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={DISK_MIB}m,mode=755"), "simbridge-test"])
            .arg(directory.path())
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(directory.keep()));
        }
        eprintln!("NOT RUN: mounting a file system is not allowed here");
        None
    }

    fn path(&self) -> &Path {
        &self.0
    }

    /// Takes the room that is left.
    fn fill(&self) {
        let mut ballast = std::fs::File::create(self.ballast()).expect("a file");
        let full = std::io::copy(&mut std::io::repeat(0), &mut ballast).expect_err("it has an end");
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    }

    fn free(&self) {
        std::fs::remove_file(self.ballast()).expect("it is there");
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the server may still be on its way down.
        Command::new("umount").arg("--lazy").arg(&self.0).status().ok();
        std::fs::remove_dir(&self.0).ok();
    }
}

/// Catches taking a full disk (53100) for the fault of a record: good records are then parked, or the batch is given up and
/// acknowledged; and a launcher that does not start PostgreSQL again after it gave up for want of room for its log.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_parks_nothing_and_everything_is_stored_when_there_is_room_again() {
    let Some(disk) = SmallDisk::mount() else { return };
    let cluster = disk.path().join("cluster");
    std::fs::create_dir(&cluster).expect("a directory");
    let scene = Scene::set_on(DurableServer::start_in(cluster).await).await;
    let bridge = scene.bridge().await;
    let fleet = scene.fleet();
    for _ in 0..either(2, 10) {
        fleet.more_acked(500).await;
        disk.fill();
        eventually("it is noticed", async || (bridge.get("/readyz").await.0 == 503).then_some(())).await;
        let until = Instant::now() + Duration::from_secs(either(2, 20));
        while Instant::now() < until {
            assert!(bridge.memory_bytes() < 256 << 20, "memory is bounded");
            assert_eq!(bridge.get("/healthz").await.0, 200, "the process itself is well");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        disk.free();
        eventually("it works again", async || (bridge.get("/readyz").await.0 == 200).then_some(())).await;
    }
    fleet.more_acked(500).await;
    scene.prove(fleet, bridge).await;
    scene.server.stop().await;
}
