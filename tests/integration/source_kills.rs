//! Two instances that share the messages of another broker, and the broker itself, killed and restarted while a fleet
//! publishes.

use rand::{RngExt, SeedableRng};
use simulator::ledger::LedgerSummary;

use crate::harness::bridge::{BridgeOptions, BridgeProcess};
use crate::harness::database::TestDatabase;
use crate::harness::eventually;
use crate::harness::fleet::{FleetOptions, TestFleet, assert_nothing_lost_or_invented};
use crate::harness::mosquitto::{Mosquitto, installed, subscribed_to};

/// Few in an ordinary run; 50 when a release is proven.
fn kills() -> u32 {
    std::env::var("SIMBRIDGE_TEST_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(6)
}

fn seeded() -> rand::rngs::StdRng {
    let seed = std::env::var("SIMBRIDGE_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(11);
    println!("SIMBRIDGE_TEST_SEED={seed}");
    rand::rngs::StdRng::seed_from_u64(seed)
}

/// An instance with this slot.
fn instance(database: &TestDatabase, broker: &Mosquitto, slot: u32) -> BridgeOptions {
    let mut options = subscribed_to(&database.url(), &broker.url(), "");
    options.env.push(("SIMBRIDGE__SOURCE__SLOT".into(), slot.to_string()));
    options
}

/// Waits until everything that the broker acknowledged is stored, and proves it.
async fn assert_all_arrived(database: &TestDatabase, ledger: &LedgerSummary) {
    assert!(!ledger.acked.is_empty());
    let keys = "SELECT count(*) FROM record_keys";
    eventually("everything acknowledged is stored", async || {
        (database.number(keys).await as usize >= ledger.acked.len()).then_some(())
    })
    .await;
    assert_nothing_lost_or_invented(ledger, &database.client).await;
    database.assert_reconciled().await;
}

/// Catches an orphaned share (a client id that changes with the process), messages that nobody acknowledges, and
/// acknowledgements before COMMIT.
#[tokio::test(flavor = "multi_thread")]
async fn instances_that_share_are_killed_in_turn_and_nothing_is_lost() {
    if !installed() {
        return;
    }
    let mut random = seeded();
    let (database, broker) = (TestDatabase::new().await, Mosquitto::start().await);
    let load = FleetOptions { rate: Some(800.0), ..FleetOptions::default() };
    let sims = TestFleet::provision(&database.store, &load).await;
    let options = [instance(&database, &broker, 1), instance(&database, &broker, 2)];
    let mut running = Vec::new();
    for options in &options {
        let bridge = BridgeProcess::start(options).await;
        eventually("it is subscribed", async || {
            (bridge.metric("simbridge_source_connected").await == 1.0).then_some(())
        })
        .await;
        running.push(bridge);
    }
    let fleet = TestFleet::start(broker.address, sims, &load);
    for turn in 0..kills() as usize {
        fleet.more_acked(random.random_range(50..600)).await;
        let which = turn % 2;
        let bridge = running.remove(which);
        // kill -9 and SIGTERM alternate, for each of the two.
        if turn / 2 % 2 == 0 {
            bridge.kill().await;
        } else {
            assert_eq!(bridge.terminate().await, Some(0));
        }
        fleet.more_acked(random.random_range(1..300)).await;
        running.insert(which, BridgeProcess::start(&options[which]).await);
    }
    fleet.more_acked(200).await;
    assert_all_arrived(&database, &fleet.finish().await.1).await;
    for bridge in running {
        let shared = bridge.metric("simbridge_source_messages_received_total").await;
        assert!(shared > 0.0, "both take part to the end");
        assert_eq!(bridge.metric("simbridge_source_sessions_lost_total").await, 0.0);
        assert_eq!(bridge.terminate().await, Some(0));
    }
}
