//! The database goes and comes back.

use std::time::Duration;

use tokio::time::Instant;

use crate::harness::bridge::{BridgeOptions, BridgeProcess};
use crate::harness::durable::DurableServer;
use crate::harness::eventually;
use crate::harness::fleet::{FleetOptions, TestFleet, assert_nothing_lost_or_invented};

/// The outage under load; short in an ordinary run, 30 seconds and more when a release is proven.
fn outage() -> Duration {
    let seconds =
        std::env::var("SIMBRIDGE_TEST_OUTAGE_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(4);
    Duration::from_secs(seconds)
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_away_nothing_is_acknowledged_and_nothing_lost() {
    let mut server = DurableServer::start().await;
    let options = FleetOptions::default();
    let sims = TestFleet::provision(&server.store(), &options).await;
    let bridge = BridgeProcess::start(&BridgeOptions::new(server.url())).await;
    let fleet = TestFleet::start(bridge.mqtt, sims, &options);
    fleet.more_acked(500).await;

    server.stop().await;
    eventually("readiness goes", async || (bridge.get("/readyz").await.0 == 503).then_some(())).await;
    let acked = fleet.acked();
    let memory = bridge.memory_bytes();
    let until = Instant::now() + outage();
    while Instant::now() < until {
        assert_eq!(fleet.acked(), acked, "nothing can be acknowledged while nothing can be committed");
        assert!(bridge.memory_bytes() < 256 << 20, "memory is bounded");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let grown = bridge.memory_bytes().saturating_sub(memory);
    assert!(grown < 64 << 20, "memory grew by {grown} bytes");
    assert_eq!(bridge.get("/healthz").await.0, 200, "the process itself is well");

    server.start_again().await;
    let back = Instant::now();
    fleet.more_acked(1).await;
    println!("first acknowledgement {:?} after the database's return", back.elapsed());
    fleet.more_acked(500).await;
    assert_eq!(bridge.get("/readyz").await.0, 200);

    let (_, ledger) = fleet.finish().await;
    assert_nothing_lost_or_invented(&ledger, &server.client().await).await;
    assert!(server.store().reconcile().await.expect("reconcile runs").is_clean());
    assert_eq!(bridge.terminate().await, Some(0));
}
