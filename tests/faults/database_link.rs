//! The network between the program and PostgreSQL: silent, slow, late, reset, and half of it gone.

use std::time::Duration;

use rand::RngExt;
use tokio::time::Instant;

use crate::effort::{either, seeded};
use crate::harness::bridge::BridgeProcess;
use crate::harness::eventually;
use crate::harness::fleet::TestFleet;
use crate::link::{End, Half, Passage};
use crate::scene::Scene;

/// What has to hold while nothing can be committed: no acknowledgement, and bounded memory.
pub(crate) async fn assert_patient(bridge: &BridgeProcess, fleet: &TestFleet, until: Instant) {
    let acked = fleet.acked();
    while Instant::now() < until {
        assert_eq!(fleet.acked(), acked, "nothing can be acknowledged while nothing can be committed");
        assert!(bridge.memory_bytes() < 256 << 20, "memory is bounded");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Catches waits without a limit (the outage is then never noticed, and the first batch never stored), acknowledging what is
/// merely queued, and a queue without a bound.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_or_trickling_database_is_noticed_and_nothing_is_acknowledged_until_it_answers() {
    let scene = Scene::set().await;
    let bridge = scene.bridge().await;
    let fleet = scene.fleet();
    for passage in [Passage::Silent, Passage::Trickle(Duration::from_secs(1))] {
        fleet.more_acked(200).await;
        scene.database.set(passage);
        eventually("the outage is noticed", async || (bridge.get("/readyz").await.0 == 503).then_some(()))
            .await;
        assert_patient(&bridge, &fleet, Instant::now() + Duration::from_secs(either(4, 60))).await;
        assert_eq!(bridge.get("/healthz").await.0, 200, "the process itself is well");
        scene.database.set(Passage::Open);
    }
    fleet.more_acked(200).await;
    assert_eq!(bridge.get("/readyz").await.0, 200);
    scene.database.set(Passage::Late(Duration::from_millis(20)));
    fleet.more_acked(200).await;
    scene.database.set(Passage::Open);
    scene.prove(fleet, bridge).await;
}

/// Catches whatever the end of a connection in any statement could do to a batch, and a connection of the pool that is used
/// although nobody is at its other end.
#[tokio::test(flavor = "multi_thread")]
async fn connections_to_the_database_end_in_every_way_and_nothing_is_lost_or_doubled() {
    let mut random = seeded();
    let scene = Scene::set().await;
    let bridge = scene.bridge().await;
    let fleet = scene.fleet();
    for _ in 0..either(3, 50) {
        for end in [End::Reset, End::Close, End::Strand, End::Reset, End::Forget] {
            fleet.more_acked(random.random_range(1..200)).await;
            tokio::time::sleep(Duration::from_micros(random.random_range(0..20_000))).await;
            scene.database.end(end);
        }
    }
    fleet.more_acked(200).await;
    scene.prove(fleet, bridge).await;
}

/// Catches work in the background that waits for ever for the answer to a statement that stands alone: the first silent
/// connection that it is given stops rollups until the program is started again.
#[tokio::test(flavor = "multi_thread")]
async fn background_work_goes_on_after_connections_on_which_no_answer_ever_comes() {
    let scene = Scene::set().await;
    let bridge = scene.bridge().await;
    let fleet = scene.fleet();
    for _ in 0..either(1, 20) {
        fleet.more_acked(200).await;
        scene.database.end(End::Forget);
        fleet.more_acked(200).await;
        let chunks = bridge.metric("simbridge_rollup_chunks_total").await;
        eventually("rollups go on", async || {
            (bridge.metric("simbridge_rollup_chunks_total").await > chunks).then_some(())
        })
        .await;
    }
    scene.prove(fleet, bridge).await;
}

/// Catches a transaction that outlives its batch at the server: its locks keep the same records, and every import, waiting
/// for as long as the server believes in the connection, which without keep-alives is for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_the_server_was_never_told_to_end_does_not_keep_its_batch_waiting() {
    let scene = Scene::set().await;
    let bridge = scene.bridge().await;
    let fleet = scene.fleet();
    for turn in 1..=either(2, 20) {
        fleet.more_acked(200).await;
        scene.database.lose_commits(Half::Unheard, 1);
        eventually("a commit is lost", async || {
            (scene.database.commits_lost(Half::Unheard) >= turn).then_some(())
        })
        .await;
    }
    // The fleet's windows are bounded, so more than they hold passes only when the kept batches were stored.
    fleet.more_acked(1_000).await;
    scene.prove(fleet, bridge).await;
}
