//! The network between the program and a broker that is not ours.

use std::time::Duration;

use rand::RngExt;

use crate::effort::{either, seeded};
use crate::harness::bridge::BridgeProcess;
use crate::harness::database::TestDatabase;
use crate::harness::eventually;
use crate::harness::fleet::{FleetOptions, TestFleet};
use crate::harness::mosquitto::{Mosquitto, installed, subscribed_to};
use crate::link::{End, Link, Passage, Place};
use crate::oracle;

const RECEIVED: &str = "simbridge_source_messages_received_total";

/// Waits until messages arrive again.
async fn receives(bridge: &BridgeProcess) {
    let before = bridge.metric(RECEIVED).await;
    eventually("messages arrive", async || (bridge.metric(RECEIVED).await > before).then_some(())).await;
}

/// Catches a source that trusts a connection at which nobody is any more (it is deaf for ever), one that acknowledges on a
/// new connection what came on an older one, and one that does not take its session up again.
#[tokio::test(flavor = "multi_thread")]
async fn connections_to_another_broker_end_in_every_way_and_nothing_that_it_acknowledged_is_lost() {
    if !installed() {
        return;
    }
    let mut random = seeded();
    let (database, broker) = (TestDatabase::new().await, Mosquitto::start().await);
    let load = FleetOptions { rate: Some(500.0), ..FleetOptions::default() };
    let sims = TestFleet::provision(&database.store, &load).await;
    let link = Link::to(Place::Tcp(broker.address)).await;
    let url = format!("mqtt://{}", link.address);
    let bridge = BridgeProcess::start(&subscribed_to(&database.url(), &url, "share_group = \"\"")).await;
    eventually("it is subscribed", async || {
        (bridge.metric("simbridge_source_connected").await == 1.0).then_some(())
    })
    .await;
    let fleet = TestFleet::start(broker.address, sims, &load);
    for _ in 0..either(1, 20) {
        for end in [End::Reset, End::Close, End::Strand, End::Reset] {
            receives(&bridge).await;
            tokio::time::sleep(Duration::from_micros(random.random_range(0..20_000))).await;
            link.end(end);
        }
        // Longer than its keep alive of 5 seconds allows; the cable is in again before it has to be.
        for passage in [Passage::Trickle(Duration::from_secs(1)), Passage::Silent] {
            receives(&bridge).await;
            let connections = bridge.metric("simbridge_source_connections_total").await;
            link.set(passage);
            eventually("the silence is noticed", async || {
                (bridge.metric("simbridge_source_connected").await == 0.0).then_some(())
            })
            .await;
            link.set(Passage::Open);
            eventually("it is connected again", async || {
                (bridge.metric("simbridge_source_connections_total").await > connections).then_some(())
            })
            .await;
        }
        receives(&bridge).await;
        link.end(End::Forget);
    }
    receives(&bridge).await;
    let (_, ledger) = fleet.finish().await;
    eventually("everything acknowledged is stored", async || {
        let keys = database.number("SELECT count(*) FROM record_keys").await;
        (keys as usize >= ledger.acked.len()).then_some(())
    })
    .await;
    oracle::assert_proven(&ledger, &database.store, &database.client).await;
    assert_eq!(bridge.metric("simbridge_source_sessions_lost_total").await, 0.0);
    assert_eq!(bridge.terminate().await, Some(0));
}
