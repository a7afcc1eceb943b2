//! The network breaks at COMMIT, where nobody can know whether it happened.

use rand::RngExt;

use crate::effort::{either, seeded};
use crate::harness::eventually;
use crate::link::Half;
use crate::oracle;
use crate::scene::Scene;

/// Catches taking a COMMIT without a reply for done (the lost requests are then acknowledged and not stored), and taking it
/// for not done without looking (the lost replies are then told as repetitions: `simbridge_records_stored_total` falls
/// behind the rows).
#[tokio::test(flavor = "multi_thread")]
async fn commits_whose_request_or_reply_is_lost_are_stored_once_and_told_as_stored() {
    let mut random = seeded();
    let mut scene = Scene::set().await;
    scene.load.faults.duplicate = 0.0;
    let bridge = scene.bridge().await;
    let fleet = scene.fleet();
    fleet.more_acked(200).await;
    for turn in 1..=either(20, 300) {
        for half in [Half::Reply, Half::Request] {
            scene.database.lose_commits(half, 1);
            eventually("a commit is lost", async || {
                (scene.database.commits_lost(half) >= turn).then_some(())
            })
            .await;
        }
        fleet.more_acked(random.random_range(1..50)).await;
    }
    let (summary, ledger) = fleet.finish().await;
    assert_eq!(summary.reconnects, 0, "devices see nothing of it");
    oracle::assert_proven(&ledger, &scene.server.store(), &scene.server.client().await).await;
    oracle::assert_balanced(&bridge).await;
    assert_eq!(bridge.metric("simbridge_records_stored_total").await, ledger.sent.len() as f64);
    assert_eq!(bridge.terminate().await, Some(0));
}
