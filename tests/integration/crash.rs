//! kill -9 of anything at any moment loses no acknowledged record and counts none twice.
//!
//! Mutants, each seen to fail: acknowledging before `self.write(…)` in `ingest/writer.rs` (after 20 kills of the bridge 305
//! records were acknowledged and neither stored nor parked; the tests of `database_away` and `mosquitto` fail too), and
//! `synchronous_commit = off` on the server (kills of PostgreSQL lose what was acknowledged in the last moments).

use rand::{Rng, RngExt, SeedableRng};
use std::time::Duration;

use crate::harness::bridge::{BridgeOptions, BridgeProcess};
use crate::harness::durable::DurableServer;
use crate::harness::fleet::{FleetOptions, TestFleet, assert_nothing_lost_or_invented};

/// Zero losses in 20 kills bound the rate below 15 % with 95 % confidence; nightly runs do more.
fn kills() -> u32 {
    std::env::var("SIMBRIDGE_TEST_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(20)
}

/// A seed that is printed, so that a failure can be repeated.
fn seeded() -> rand::rngs::StdRng {
    let seed = std::env::var("SIMBRIDGE_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| rand::rng().next_u64());
    println!("SIMBRIDGE_TEST_SEED={seed}");
    rand::rngs::StdRng::seed_from_u64(seed)
}

/// A moment that is not tied to anything the program does.
async fn random_moment(random: &mut impl Rng, fleet: &TestFleet) {
    fleet.more_acked(random.random_range(1..400)).await;
    tokio::time::sleep(Duration::from_micros(random.random_range(0..20_000))).await;
}

async fn assert_proven(server: &DurableServer, fleet: TestFleet) {
    let (summary, ledger) = fleet.finish().await;
    assert!(summary.acked > 0);
    assert_nothing_lost_or_invented(&ledger, &server.client().await).await;
    let reconciliation = server.store().reconcile().await.expect("reconcile runs");
    assert!(reconciliation.is_clean(), "{reconciliation:#?}");
    assert_eq!(reconciliation.records as usize, ledger.acked.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_the_bridge_at_random_moments_loses_nothing_that_was_acknowledged() {
    let mut random = seeded();
    let server = DurableServer::start().await;
    let options = FleetOptions::default();
    let sims = TestFleet::provision(&server.store(), &options).await;
    let mut bridge_options = BridgeOptions::new(server.url());
    let mut bridge = BridgeProcess::start(&bridge_options).await;
    bridge_options.mqtt = bridge.mqtt.to_string();
    let fleet = TestFleet::start(bridge.mqtt, sims, &options);
    for _ in 0..kills() {
        random_moment(&mut random, &fleet).await;
        bridge.kill().await;
        bridge = BridgeProcess::start(&bridge_options).await;
    }
    fleet.more_acked(100).await;
    assert_proven(&server, fleet).await;
    assert_eq!(bridge.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_postgresql_at_random_moments_loses_nothing_that_was_acknowledged() {
    let mut random = seeded();
    let server = DurableServer::start().await;
    let options = FleetOptions::default();
    let sims = TestFleet::provision(&server.store(), &options).await;
    let bridge = BridgeProcess::start(&BridgeOptions::new(server.url())).await;
    let fleet = TestFleet::start(bridge.mqtt, sims, &options);
    for _ in 0..kills() {
        random_moment(&mut random, &fleet).await;
        server.kill_everything();
    }
    fleet.more_acked(100).await;
    assert_proven(&server, fleet).await;
    assert_eq!(bridge.terminate().await, Some(0));
}
