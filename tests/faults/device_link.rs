//! The network between devices and the broker.

use std::time::Duration;

use rand::RngExt;
use tokio::time::Instant;

use crate::effort::{either, seeded};
use crate::harness::eventually;
use crate::link::{End, Passage};
use crate::scene::Scene;

/// Catches an acknowledgement that reaches another connection than the one that published, a session that its own return
/// locks out, and a broker that one slow device holds up.
#[tokio::test(flavor = "multi_thread")]
async fn connections_of_devices_end_stall_and_trickle_and_nothing_is_lost_or_doubled() {
    let mut random = seeded();
    let scene = Scene::set().await;
    let bridge = scene.bridge().await;
    let fleet = scene.fleet();
    for turn in 0..either(4, 60) {
        // Stranded: the broker still has the connection when the same client comes again.
        for end in [End::Reset, End::Strand, End::Close] {
            fleet.more_acked(random.random_range(1..300)).await;
            tokio::time::sleep(Duration::from_micros(random.random_range(0..20_000))).await;
            scene.devices.end(end);
        }
        let passage = [Passage::Silent, Passage::Trickle(Duration::from_secs(1))][turn % 2];
        scene.devices.set(passage);
        let until = Instant::now() + Duration::from_millis(random.random_range(500..either(1_500, 10_000)));
        while Instant::now() < until {
            assert!(bridge.memory_bytes() < 256 << 20, "memory is bounded");
            assert_eq!(bridge.get("/readyz").await.0, 200, "one bad network is not an outage");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        scene.devices.set(Passage::Open);
    }
    fleet.more_acked(300).await;
    let connected = f64::from(scene.load.gateways);
    eventually("each gateway has one connection", async || {
        (bridge.metric("simbridge_mqtt_connections_open").await == connected).then_some(())
    })
    .await;
    scene.prove(fleet, bridge).await;
}
