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
pub(crate) fn kills() -> u32 {
    std::env::var("SIMBRIDGE_TEST_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(6)
}

pub(crate) fn seeded() -> rand::rngs::StdRng {
    let seed = std::env::var("SIMBRIDGE_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(11);
    println!("SIMBRIDGE_TEST_SEED={seed}");
    rand::rngs::StdRng::seed_from_u64(seed)
}

/// An instance with this slot; `share` is the group, or empty.
pub(crate) fn instance(database: &TestDatabase, broker: &Mosquitto, slot: u32, share: &str) -> BridgeOptions {
    let mut options = subscribed_to(&database.url(), &broker.url(), &format!("share_group = \"{share}\""));
    options.env.push(("SIMBRIDGE__SOURCE__SLOT".into(), slot.to_string()));
    options
}

/// Waits until it is subscribed for the `times`th time.
pub(crate) async fn subscribed(bridge: &BridgeProcess, times: f64) {
    eventually("it is subscribed", async || {
        let again = bridge.metric("simbridge_source_connections_total").await >= times;
        (again && bridge.metric("simbridge_source_connected").await == 1.0).then_some(())
    })
    .await;
}

/// What several fleets sent and were told.
fn together(ledgers: Vec<LedgerSummary>) -> LedgerSummary {
    let mut all = LedgerSummary::default();
    for ledger in ledgers {
        all.sent.extend(ledger.sent);
        all.acked.extend(ledger.acked);
        all.total_bytes.extend(ledger.total_bytes);
    }
    all
}

/// Waits until everything that the broker acknowledged is stored, and proves it.
pub(crate) async fn assert_all_arrived(database: &TestDatabase, ledger: &LedgerSummary) {
    assert!(!ledger.acked.is_empty());
    let keys = "SELECT count(*) FROM record_keys";
    eventually("everything acknowledged is stored", async || {
        (database.number(keys).await as usize >= ledger.acked.len()).then_some(())
    })
    .await;
    assert_nothing_lost_or_invented(ledger, &database.client).await;
    database.assert_reconciled().await;
}

/// Catches an orphaned share (a client id that changes with the process) and messages that nobody acknowledges.
///
/// mosquitto 2.0.11 forgets shared subscriptions when it restarts, although it says that the session is present: what is
/// published before the instances have subscribed again reaches nobody. So it is restarted while nothing is published.
#[tokio::test(flavor = "multi_thread")]
async fn instances_that_share_are_killed_in_turn_and_nothing_is_lost() {
    if !installed() {
        return;
    }
    let mut random = seeded();
    let (database, mut broker) = (TestDatabase::new().await, Mosquitto::start().await);
    let mut load = FleetOptions { rate: Some(800.0), ..FleetOptions::default() };
    let sims = TestFleet::provision(&database.store, &load).await;
    let options = [1, 2].map(|slot| instance(&database, &broker, slot, "meters"));
    let mut running = Vec::new();
    for options in &options {
        running.push(BridgeProcess::start(options).await);
    }
    for bridge in &running {
        subscribed(bridge, 1.0).await;
    }
    let fleet = TestFleet::start(broker.address, sims.clone(), &load);
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
    let mut ledgers = vec![fleet.finish().await.1];
    for bridge in &running {
        subscribed(bridge, 1.0).await;
    }
    broker.save().await;
    broker.terminate().await;
    broker.start_again().await;
    for bridge in &running {
        subscribed(bridge, 2.0).await;
    }
    load.seed += 1;
    let fleet = TestFleet::start(broker.address, sims, &load);
    fleet.more_acked(300).await;
    ledgers.push(fleet.finish().await.1);
    assert_all_arrived(&database, &together(ledgers)).await;
    for bridge in running {
        let shared = bridge.metric("simbridge_source_messages_received_total").await;
        assert!(shared > 0.0, "both take part to the end");
        assert_eq!(bridge.metric("simbridge_source_sessions_lost_total").await, 0.0);
        assert_eq!(bridge.terminate().await, Some(0));
    }
}

/// Catches a source that does not come back, or comes back deaf.
///
/// A kill -9 of mosquitto 2.0.11 loses what it acknowledged a moment before, whoever subscribes, also with
/// `autosave_on_changes`: it is made to save first. It is killed while messages wait here for their COMMIT, and under load it is
/// ended in order.
#[tokio::test(flavor = "multi_thread")]
async fn the_broker_is_restarted_and_nothing_that_it_acknowledged_is_lost() {
    if !installed() {
        return;
    }
    let mut random = seeded();
    let (database, mut broker) = (TestDatabase::new().await, Mosquitto::start().await);
    let mut load = FleetOptions { rate: Some(500.0), ..FleetOptions::default() };
    let sims = TestFleet::provision(&database.store, &load).await;
    let bridge = BridgeProcess::start(&instance(&database, &broker, 1, "")).await;
    subscribed(&bridge, 1.0).await;
    let mut ledgers = Vec::new();
    for turn in 0..kills() {
        load.seed += 1;
        let fleet = TestFleet::start(broker.address, sims.clone(), &load);
        fleet.more_acked(random.random_range(50..400)).await;
        if turn % 2 == 0 {
            database.run("BEGIN; LOCK TABLE usage_records IN EXCLUSIVE MODE").await;
            fleet.more_acked(random.random_range(1..200)).await;
            ledgers.push(fleet.finish().await.1);
            broker.save().await;
            broker.kill().await;
            broker.start_again().await;
            subscribed(&bridge, f64::from(turn) + 2.0).await;
            database.run("ROLLBACK").await;
        } else {
            broker.terminate().await;
            broker.start_again().await;
            fleet.more_acked(50).await;
            ledgers.push(fleet.finish().await.1);
            subscribed(&bridge, f64::from(turn) + 2.0).await;
        }
        // What was sent again because of the one restart is not to be sent once more because of the next one: a queue that is full while
        // the table is locked keeps SUBACK waiting behind what comes before it.
        eventually("nothing waits", async || {
            let waits = bridge.metric("simbridge_source_unacknowledged_messages").await;
            (waits == 0.0).then_some(())
        })
        .await;
    }
    assert_all_arrived(&database, &together(ledgers)).await;
    assert_eq!(bridge.metric("simbridge_source_sessions_lost_total").await, 0.0);
    assert_eq!(bridge.terminate().await, Some(0));
}
