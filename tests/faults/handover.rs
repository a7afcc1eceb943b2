//! How soon another instance does what one instance does at a time, with the settings that everybody begins with.

use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::Instant;

use crate::harness::bridge::{BridgeOptions, BridgeProcess};
use crate::harness::durable::DurableServer;
use crate::harness::eventually;
use crate::harness::fleet::TestFleet;
use crate::link::{End, Link, Passage, Place};
use crate::oracle;
use crate::rollup_duty::{NAMES, leader};
use crate::scene::Scene;

/// What is promised. Half of the times at least must keep it, so that a machine which is busy for a moment fails nobody.
const PROMISED: Duration = Duration::from_secs(10);

/// Far longer than what is promised: whoever dies in it has to be noticed in the middle of a statement.
const LONG_STATEMENT: &str = "60";

/// Kills in all; 50 when a release is proven.
fn kills() -> usize {
    std::env::var("SIMBRIDGE_TEST_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(3)
}

/// One of several instances, on a network of its own to the database.
struct Instance {
    process: BridgeProcess,
    options: BridgeOptions,
    database: Link,
}

struct Instances {
    scene: Scene,
    client: tokio_postgres::Client,
    running: Vec<Instance>,
    fleet: TestFleet,
}

/// Makes a chunk of rollups sleep, in the middle of its statement, for as long as the table says at its beginning.
async fn slow_rollups(server: &DurableServer) {
    let sql = "CREATE TABLE pace (seconds float8 NOT NULL); INSERT INTO pace VALUES (0.2);
               CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
                   PERFORM pg_sleep((SELECT seconds FROM public.pace)); RETURN NULL;
               END $$;
               CREATE TRIGGER slow AFTER DELETE ON rollup_markers FOR EACH STATEMENT EXECUTE FUNCTION slow();";
    server.client().await.batch_execute(sql).await.expect("a trigger");
}

impl Instances {
    async fn start(count: usize) -> Self {
        let scene = Scene::set().await;
        slow_rollups(&scene.server).await;
        let client = scene.server.client().await;
        let mut running = Vec::new();
        for name in &NAMES[..count] {
            let database = Link::to(Place::Postgres(scene.server.socket())).await;
            let url = scene.server.url_through(database.address);
            let mut options = BridgeOptions::new(format!("{url}&application_name={name}"));
            options.set("mqtt.instance_name", *name);
            let process = BridgeProcess::start(&options).await;
            running.push(Instance { process, options, database });
        }
        scene.devices.lead_to(Place::Tcp(running[0].process.mqtt));
        let fleet = scene.fleet();
        Self { scene, client, running, fleet }
    }

    async fn pace(&self, seconds: &str) {
        let sql = format!("UPDATE pace SET seconds = {seconds}");
        self.client.batch_execute(&sql).await.expect("it is ours");
    }

    /// Waits until an instance is in the middle of a chunk that sleeps so long.
    async fn amid_chunk(&self, seconds: &str) -> usize {
        self.pace(seconds).await;
        // One that began before does not sleep so long: whoever still leads after half a second does.
        eventually("somebody leads for long", async || {
            let which = leader(&self.client).await?;
            let sql = "SELECT FROM pg_stat_activity WHERE application_name = $1 AND wait_event = 'PgSleep'
                         AND query_start < clock_timestamp() - interval '0.5 s'";
            self.client.query_opt(sql, &[&NAMES[which]]).await.expect("it can be seen").map(|_| which)
        })
        .await
    }

    /// How long it takes from now until another instance leads; the fleet has moved to the next one.
    async fn handed_over(&self, from: usize) -> Duration {
        let began = Instant::now();
        let next = &self.running[(from + 1) % self.running.len()];
        self.scene.devices.lead_to(Place::Tcp(next.process.mqtt));
        self.scene.devices.end(End::Close);
        eventually("another one leads", async || (leader(&self.client).await? != from).then_some(())).await;
        began.elapsed()
    }

    async fn prove(self) {
        self.pace("0").await;
        let (_, ledger) = self.fleet.finish().await;
        oracle::assert_proven(&ledger, &self.scene.server.store(), &self.client).await;
        for instance in self.running {
            assert_eq!(instance.process.terminate().await, Some(0));
        }
    }
}

fn assert_kept(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let (middle, longest) = (times[times.len() / 2], times[times.len() - 1]);
    println!("{what}: {} handovers, middle {middle:.2?}, longest {longest:.2?}", times.len());
    assert!(middle < PROMISED, "{what}: {times:.2?}");
}

/// Catches a lock that the server keeps for an instance that is dead, because it is in the middle of a long statement for it
/// (no `client_connection_check_interval`).
#[tokio::test(flavor = "multi_thread")]
async fn whoever_of_two_is_killed_in_rollup_duty_is_replaced_within_seconds() {
    kill_leaders(2).await;
}

/// The same with three that are left.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_of_four_is_killed_in_rollup_duty_is_replaced_within_seconds() {
    kill_leaders(4).await;
}

async fn kill_leaders(count: usize) {
    let mut instances = Instances::start(count).await;
    let mut times = Vec::new();
    for _ in 0..kills() {
        instances.fleet.more_acked(50).await;
        let which = instances.amid_chunk(LONG_STATEMENT).await;
        instances.pace("0.2").await;
        instances.running[which].process.signal(Signal::SIGKILL);
        times.push(instances.handed_over(which).await);
        let options = &instances.running[which].options;
        instances.running[which].process = BridgeProcess::start(options).await;
    }
    assert_kept(&format!("kill -9 of one of {count}"), times);
    instances.prove().await;
}

/// Catches a transaction of a duty that may stand idle for as long as any other (`database.statement_timeout_ms`), and a leader
/// that goes on where it was when it wakes: what it had begun would count twice.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_freezes_or_is_cut_off_in_rollup_duty_is_replaced_within_seconds() {
    let instances = Instances::start(2).await;
    let [mut frozen, mut cut] = [Vec::new(), Vec::new()];
    for turn in 0..kills().min(20) {
        instances.fleet.more_acked(50).await;
        let which = instances.amid_chunk("1").await;
        instances.pace("0.2").await;
        let instance = &instances.running[which];
        if turn % 2 == 0 {
            instance.process.signal(Signal::SIGSTOP);
            frozen.push(instances.handed_over(which).await);
            instance.process.signal(Signal::SIGCONT);
        } else {
            instance.database.set(Passage::Silent);
            cut.push(instances.handed_over(which).await);
            instance.database.set(Passage::Open);
            // The server has closed its side; this one hears of it now.
            instance.database.end(End::Close);
        }
        // It takes part again: what it had begun was taken back.
        instances.fleet.more_acked(50).await;
    }
    assert_kept("frozen", frozen);
    assert_kept("cut off", cut);
    instances.prove().await;
}

/// Catches an end that does not finish, nor give back, what it is at.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_ends_in_rollup_duty_is_replaced_within_seconds() {
    let mut instances = Instances::start(2).await;
    let mut times = Vec::new();
    for _ in 0..kills().min(20) {
        instances.fleet.more_acked(50).await;
        let which = instances.amid_chunk("1").await;
        instances.pace("0.2").await;
        instances.running[which].process.signal(Signal::SIGTERM);
        times.push(instances.handed_over(which).await);
        let fresh = BridgeProcess::start(&instances.running[which].options).await;
        let ended = std::mem::replace(&mut instances.running[which].process, fresh);
        assert_eq!(ended.ended().await, Some(0));
    }
    assert_kept("SIGTERM", times);
    instances.prove().await;
}
