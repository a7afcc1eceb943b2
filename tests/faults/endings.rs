//! Instances that are ended in order while devices publish.

use std::time::Duration;

use rand::RngExt;
use tokio::time::Instant;

use crate::effort::{either, seeded};
use crate::harness::bridge::BridgeProcess;
use crate::link::Place;
use crate::scene::Scene;

/// What a service manager gives a program at least before it kills it.
const PATIENCE_OF_MANAGERS: Duration = Duration::from_secs(10);

/// Two instances on one database take turns: the next one is there before the last one is ended, as in a rolling restart.
///
/// Catches a drain that waits for what cannot come, one that acknowledges what is only queued, and one that ends before what
/// was received is stored (`simbridge_records_in_flight` of the last look, and devices that wait for an answer).
#[tokio::test(flavor = "multi_thread")]
async fn instances_that_are_replaced_in_turn_drain_within_ten_seconds_and_lose_nothing() {
    let mut random = seeded();
    let mut scene = Scene::set().await;
    let mut bridge = scene.bridge().await;
    let fleet = scene.fleet();
    for turn in 0..either(6, 100) {
        fleet.more_acked(random.random_range(1..300)).await;
        scene.options.settings.retain(|(key, _)| key != "mqtt.instance_name");
        scene.options.set("mqtt.instance_name", ["one", "two"][turn % 2]);
        let next = BridgeProcess::start(&scene.options).await;
        scene.devices.lead_to(Place::Tcp(next.mqtt));
        tokio::time::sleep(Duration::from_micros(random.random_range(0..20_000))).await;
        let asked = Instant::now();
        let last = std::mem::replace(&mut bridge, next);
        assert_eq!(last.terminate().await, Some(0));
        assert!(asked.elapsed() < PATIENCE_OF_MANAGERS, "it took {:?}", asked.elapsed());
    }
    fleet.more_acked(300).await;
    scene.prove(fleet, bridge).await;
}
