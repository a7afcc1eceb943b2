//! A soak: the whole of it at half speed for an hour, with mishaps sprinkled in, and nothing may have grown, lagged or been lost.

mod bloat;
mod hostile;
mod ledger;
mod mishaps;
mod plan;
mod proof;
mod publisher;
mod publishers;
mod report;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use rand::seq::SliceRandom;
use simulator::fleet::Fleet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::effort::seeded;
use crate::harness::PATIENCE;
use crate::harness::bridge::{BridgeOptions, BridgeProcess};
use crate::harness::certificates::Certificates;
use crate::harness::durable::DurableServer;
use crate::harness::fleet::{FleetOptions, TestFleet};
use crate::oracle;
use hostile::Hostile;
use ledger::Ledger;
use mishaps::{Mishap, Stage};
use plan::Plan;
use publishers::Publishers;
use report::Report;
use watch::{Samples, Weather, files};

/// Connections of the program to the database at most (`database.pool_size`).
const POOL: usize = 10;

/// Without `SIMBRIDGE_TEST_SOAK_SECONDS` it is half a minute with each mishap once or twice. It is then held to what needs no
/// time to be seen: every record counted once however often it was sent, charts that catch up, what was malformed and nothing
/// else in the quarantine, files and memory within bounds. A run whose seconds were asked for is held to the lag of every calm
/// moment and to bloat too, and one of an hour to the slope of its memory.
///
/// Catches, each put into the program by hand: every payload kept for ever (memory, in a minute at 1,500 records a second; the
/// short run sends too few); a repetition that counts once more (records against what was acknowledged); markers that rollups
/// leave (charts that never catch up); a socket kept of each connection (open files).
#[tokio::test(flavor = "multi_thread")]
async fn after_hours_of_mishaps_nothing_has_grown_or_lagged_and_every_record_counts_once() {
    let plan = Plan::asked_for();
    let random = seeded();
    let server = DurableServer::start().await;
    let fleet = provision(&server, &plan).await;
    let certificates = Certificates::create(&[]).await;
    let mut options = BridgeOptions::new(server.url());
    certificates.configure(&mut options);
    let bridge = BridgeProcess::start(&options).await;
    let files_at_most = files(&bridge) + plan.connections + POOL;
    let publishers = Publishers::start(&plan, &fleet, bridge.mqtt);
    let weather = Weather::fine();
    let hostile = Hostile::of(&fleet.sims()[0].iccid);
    let mut stage = Stage {
        plan: &plan,
        server: &server,
        bridge: &bridge,
        publishers: &publishers,
        weather: weather.clone(),
        random,
        hostile,
        recoveries: Vec::new(),
    };
    let mut samples = Samples::none();
    tokio::select! {
        () = samples.gather(&plan, &weather, &bridge, &server, &publishers.live) => {}
        () = endure(&mut stage) => {}
    }
    let Stage { hostile, recoveries, .. } = stage;

    publishers.pause().await;
    oracle::assert_balanced(&bridge).await;
    let files = files_in_the_end(&bridge, files_at_most).await;
    let (lost, live) = (publishers.lost(), publishers.live.clone());
    let ledger = replace(&plan, &options, bridge, publishers, &server).await;

    // What it saw is told before anything is found wrong with it: an hour is not to be in vain.
    let report =
        Report { plan: &plan, samples, live, ledger, hostile, recoveries, lost, files, files_at_most };
    report.tell();
    let client = server.client().await;
    proof::assert_exact(&client, &fleet, &report.ledger, &report.hostile.malformed).await;
    let reconciled = proof::reconcile(&server.url(), &plan).await;
    let sizes = bloat::measure(&client).await;
    report::tell_end(&plan, reconciled, &sizes);
    report.judge(&sizes);
}

/// Those of connections that ended may still be open for a moment.
async fn files_in_the_end(bridge: &BridgeProcess, at_most: usize) -> usize {
    let deadline = Instant::now() + PATIENCE;
    while files(bridge) > at_most && Instant::now() < deadline {
        sleep(Duration::from_millis(100)).await;
    }
    files(bridge)
}

/// SIMs, and pools of which half of them are members.
async fn provision(server: &DurableServer, plan: &Plan) -> Arc<Fleet> {
    let sims = FleetOptions { sims: plan.sims, ..FleetOptions::default() };
    let fleet = TestFleet::provision(&server.store(), &sims).await;
    let pools = "INSERT INTO usage_pools (tenant_id, name, limit_bytes, created_at, updated_at)
                     SELECT 1, 'pool ' || n, 1000000000000000, now(), now() FROM generate_series(0, 9) AS n;
                 INSERT INTO usage_pool_members (pool_id, tenant_id, iccid, joined_on)
                     SELECT p.id, 1, s.iccid, current_date - 30
                     FROM (SELECT iccid, row_number() OVER (ORDER BY iccid) AS n FROM provisioned_sims) AS s
                     JOIN usage_pools p ON p.name = 'pool ' || s.n % 20;";
    server.client().await.batch_execute(pools).await.expect("pools");
    fleet
}

/// One mishap after the other, in an order of the seed, each as often as the others, until the time is over.
async fn endure(stage: &mut Stage<'_>) {
    let began = Instant::now();
    let mut deck = Vec::new();
    let mut next = began + stage.plan.between;
    while began.elapsed() < stage.plan.length || stage.recoveries.len() < Mishap::ALL.len() {
        sleep_until(next).await;
        if deck.is_empty() {
            deck.extend(Mishap::ALL);
            deck.shuffle(&mut stage.random);
        }
        let mishap = deck.pop().expect("it was filled");
        let happened = Instant::now();
        println!("{:5} s! {mishap:?}", began.elapsed().as_secs());
        stage.suffer(mishap).await;
        // Something is seen of the calm after each, however long it took.
        next = (happened + stage.plan.between).max(Instant::now() + stage.plan.between / 2);
    }
}

/// Ends the program in order while devices publish, starts it again and lets it finish; returns what was acknowledged.
async fn replace(
    plan: &Plan,
    options: &BridgeOptions,
    bridge: BridgeProcess,
    publishers: Publishers,
    server: &DurableServer,
) -> Ledger {
    publishers.go_on();
    publishers.more_acked(plan.rate as u64).await;
    assert_eq!(bridge.terminate().await, Some(0), "it drains under load");
    let bridge = BridgeProcess::start(options).await;
    publishers.lead_to(bridge.mqtt);
    publishers.more_acked(plan.rate as u64).await;
    let ledger = publishers.leave().await;
    proof::settle(&server.client().await, plan).await;
    oracle::assert_balanced(&bridge).await;
    assert_eq!(bridge.terminate().await, Some(0));
    ledger
}
