//! mosquitto, restarted again and again under two instances that share its messages: it forgets shared subscriptions then.

use rand::{Rng, RngExt};
use simulator::publisher::Protocol;

use crate::harness::bridge::{BridgeOptions, BridgeProcess};
use crate::harness::database::TestDatabase;
use crate::harness::eventually;
use crate::harness::fleet::{FleetOptions, TestFleet};
use crate::harness::mosquitto::{Mosquitto, installed};
use crate::source_kills::{assert_all_arrived, instance, kills, seeded, subscribed};

const RECEIVED: &str = "simbridge_source_messages_received_total";

/// kill -9 and SIGTERM by turns.
async fn end(bridge: BridgeProcess, turn: usize) {
    if turn.is_multiple_of(2) {
        bridge.kill().await;
    } else {
        assert_eq!(bridge.terminate().await, Some(0));
    }
}

/// One restart of the broker, and perhaps of instances around it.
async fn restart(
    turn: usize,
    broker: &mut Mosquitto,
    running: &mut Vec<BridgeProcess>,
    options: &[BridgeOptions; 2],
    fleet: &TestFleet,
    random: &mut impl Rng,
) {
    match turn % 3 {
        // Both instances are away: certainly somebody publishes to nobody.
        0 => {
            for bridge in running.drain(..) {
                end(bridge, turn / 3).await;
            }
            broker.terminate().await;
            broker.start_again().await;
            fleet.more_unheard(random.random_range(1..50)).await;
            for options in options {
                running.push(BridgeProcess::start(options).await);
            }
        }
        // One of them is.
        1 => {
            let which = turn / 3 % 2;
            end(running.remove(which), turn / 6).await;
            broker.terminate().await;
            broker.start_again().await;
            fleet.more_acked(random.random_range(1..100)).await;
            running.insert(which, BridgeProcess::start(&options[which]).await);
        }
        _ => {
            broker.terminate().await;
            broker.start_again().await;
        }
    }
}

/// Catches a source that does not subscribe again where the session is said to be present: of such a share nobody receives any more.
/// And a publisher that takes "No matching subscribers" (0x10) for an acknowledgement, as it is to those who read no reason codes:
/// what it published before the instances had subscribed again is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_forgets_shares_is_restarted_again_and_again_and_nothing_is_lost() {
    if !installed() {
        return;
    }
    let mut random = seeded();
    let (database, mut broker) = (TestDatabase::new().await, Mosquitto::start().await);
    let load = FleetOptions { rate: Some(500.0), protocol: Protocol::V5, ..FleetOptions::default() };
    let sims = TestFleet::provision(&database.store, &load).await;
    let options = [1, 2].map(|slot| instance(&database, &broker, slot, "meters"));
    let mut running = Vec::new();
    for options in &options {
        running.push(BridgeProcess::start(options).await);
    }
    for bridge in &running {
        subscribed(bridge, 1.0).await;
    }
    let fleet = TestFleet::start(broker.address, sims, &load);
    for turn in 0..kills() as usize {
        fleet.more_acked(random.random_range(50..400)).await;
        restart(turn, &mut broker, &mut running, &options, &fleet, &mut random).await;
    }
    // Each of them is given its share to the end.
    for bridge in &running {
        let before = bridge.metric(RECEIVED).await;
        eventually("it receives", async || (bridge.metric(RECEIVED).await > before).then_some(())).await;
    }
    let (summary, ledger) = fleet.finish().await;
    println!("{} restarts: {summary:?}", kills());
    assert!(summary.unheard_messages > 0, "nobody was unheard, so nothing was proven");
    assert_all_arrived(&database, &ledger).await;
    for bridge in running {
        assert_eq!(bridge.metric("simbridge_source_sessions_lost_total").await, 0.0);
        assert_eq!(bridge.terminate().await, Some(0));
    }
}
