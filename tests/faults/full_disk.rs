//! The disk of PostgreSQL is full.

use tokio::time::{Duration, Instant};

use crate::effort::either;
use crate::harness::durable::DurableServer;
use crate::harness::eventually;
use crate::harness::small_disk::{DISK_MIB, SmallDisk};
use crate::scene::Scene;

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
        let full = disk.take(DISK_MIB.into()).expect_err("it has an end");
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
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
