//! One, two and four instances on one database: each with a broker of its own, and all subscribed at one mosquitto with `$share`.
//! After each the invariants are looked at.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use simbridge::domain::Clock;
use simbridge::store::reconcile::Reconciliation;
use simulator::load::{self, LoadOptions, LoadProgress};
use simulator::publisher::Protocol;
use simulator::record::RunId;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::database::{BenchDatabase, BenchServer, fleet};
use crate::mosquitto::Mosquitto;
use crate::program::Program;
use crate::{Meter, Rates};

const OWN_BROKERS: [(usize, &str); 3] = [(1, "instances/1"), (2, "instances/2"), (4, "instances/4")];
const SHARED: [(usize, &str); 3] = [(1, "shared/1"), (2, "shared/2"), (4, "shared/4")];

/// Connections of all instances together.
const CONNECTIONS: u32 = 48;

pub(crate) async fn run(
    mode: &str,
    server: &BenchServer,
    sims: usize,
    round: usize,
    records: usize,
    rates: &mut Rates,
) {
    match mode {
        "shared" => shared(server, sims, round, records, rates).await,
        _ => own_brokers(server, sims, round, records, rates).await,
    }
}

async fn own_brokers(server: &BenchServer, sims: usize, round: usize, records: usize, rates: &mut Rates) {
    for (instances, mode) in OWN_BROKERS {
        let database = server.database(sims).await;
        let mut programs = Vec::new();
        for n in 0..instances {
            let name = ("SIMBRIDGE__MQTT__INSTANCE_NAME", format!("bench{n}"));
            let open = ("SIMBRIDGE__MQTT__ANONYMOUS", "true".to_owned());
            programs.push(Program::launch(&database, &[name, open], false).await);
        }
        let meter = Meter::start(&database);
        let started = Instant::now();
        publish(programs.iter().map(|program| program.mqtt).collect(), sims, records).await;
        rates.add(round, mode, &meter.stop(&database, records, started.elapsed().as_secs_f64()));
        prove(&database, records).await;
    }
}

async fn shared(server: &BenchServer, sims: usize, round: usize, records: usize, rates: &mut Rates) {
    for (instances, mode) in SHARED {
        let Some(broker) = Mosquitto::start().await else {
            println!("round {round}: {mode:<13} left out: mosquitto is not installed");
            return;
        };
        let database = server.database(sims).await;
        let mut programs = Vec::new();
        for slot in 1..=instances {
            programs.push(subscribed(&database, broker.address, slot).await);
        }
        let meter = Meter::start(&database);
        let started = Instant::now();
        publish(vec![broker.address], sims, records).await;
        while stored(&programs).await < records as f64 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        rates.add(round, mode, &meter.stop(&database, records, started.elapsed().as_secs_f64()));
        prove(&database, records).await;
    }
}

async fn subscribed(database: &BenchDatabase, broker: SocketAddr, slot: usize) -> Program {
    let source = format!("[{{ name = \"bench\", url = \"mqtt://{broker}\", share_group = \"bench\" }}]");
    let settings = [
        ("SIMBRIDGE__SOURCE__MQTT", source),
        ("SIMBRIDGE__SOURCE__SLOT", slot.to_string()),
        ("SIMBRIDGE__MQTT__ENABLED", "false".to_owned()),
    ];
    let program = Program::launch(database, &settings, false).await;
    while program.metrics().await.value("simbridge_source_connected{source=\"bench\"} ") < 1.0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    program
}

async fn stored(programs: &[Program]) -> f64 {
    let mut stored = 0.0;
    for program in programs {
        stored += program.metrics().await.value("simbridge_records_stored_total ");
    }
    stored
}

/// Divides the records among the brokers, all at once, until every PUBACK has come.
async fn publish(brokers: Vec<SocketAddr>, sims: usize, records: usize) {
    let (now, count) = (Clock::System.now(), brokers.len());
    let mut loads = JoinSet::new();
    for (n, broker) in brokers.into_iter().enumerate() {
        let options = LoadOptions {
            addr: broker.to_string(),
            protocol: Protocol::V311,
            qos: 1,
            credentials: None,
            connections: CONNECTIONS / count as u32,
            window: 100,
            records_per_message: 1,
            rate: None,
            records: Some((records / count) as u64),
            duration: None,
            fleet: fleet(sims),
            run_id: RunId::new(n as u64 + 1, now),
            until: now,
            drain_timeout: Duration::from_secs(60),
        };
        loads.spawn(load::run(options, Arc::new(LoadProgress::default()), CancellationToken::new()));
    }
    while let Some(load) = loads.join_next().await {
        let report = load.expect("no panic").expect("the load runs");
        assert_eq!(
            (report.messages_unacknowledged, report.connections_lost),
            (0, 0),
            "{:?}",
            report.first_loss
        );
    }
}

/// Every record counts once, in every total.
async fn prove(database: &BenchDatabase, records: usize) {
    assert_eq!(reconciled(database).await.records as usize, records);
    println!("         all totals are exact");
}

/// What is stored when every batch is rolled up, with all totals exact.
pub(crate) async fn reconciled(database: &BenchDatabase) -> Reconciliation {
    while database.store.rollup_backlog().await.expect("an answer").markers > 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let reconciliation = database.store.reconcile().await.expect("reconcile runs");
    assert!(reconciliation.is_clean(), "{reconciliation:#?}");
    reconciliation
}
