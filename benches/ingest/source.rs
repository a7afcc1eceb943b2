//! One source: mosquitto, subscription, database.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::database::{BenchDatabase, BenchServer};
use crate::mosquitto::Mosquitto;
use crate::program::{Program, publish};
use crate::{Meter, Rates};

pub(crate) async fn run(server: &BenchServer, sims: usize, round: usize, records: usize, rates: &mut Rates) {
    let Some(broker) = Mosquitto::start().await else {
        println!("round {round}: source        left out: mosquitto is not installed");
        return;
    };
    let database = server.database(sims).await;
    let program = subscribed_at(&database, broker.address).await;
    let meter = Meter::start(&database);
    let started = Instant::now();
    let load = publish(broker.address, sims, Some(records as u64), None, 50, 100, None).await;
    reaches(&program, "simbridge_records_stored_total ", records as f64).await;
    let seconds = started.elapsed().as_secs_f64();
    rates.add(round, "source", &meter.stop(&database, records, seconds));
    println!(
        "         mosquitto acknowledged {:.0} records/s, the last record was stored {:.1} s later, simbridge RSS {} MB",
        load.records_per_second,
        seconds - load.seconds,
        program.memory_mb()
    );
}

/// A program without a broker of its own; returns when it is subscribed at `broker`.
async fn subscribed_at(database: &BenchDatabase, broker: SocketAddr) -> Program {
    let source = format!("[{{ name = \"bench\", url = \"mqtt://{broker}\" }}]");
    let settings = [("SIMBRIDGE__SOURCE__MQTT", source), ("SIMBRIDGE__MQTT__ENABLED", "false".to_owned())];
    let program = Program::launch(database, &settings, false).await;
    reaches(&program, "simbridge_source_connected{source=\"bench\"} ", 1.0).await;
    program
}

async fn reaches(program: &Program, metric: &str, value: f64) {
    while program.metrics().await.value(metric) < value {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
