//! What goes wrong in the course of a soak, one after the other. None of it ends the program itself: its memory would begin anew.

use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

use super::hostile::Hostile;
use super::plan::{LAG, Plan};
use super::publishers::Publishers;
use super::watch::{Weather, lag};
use crate::harness::bridge::BridgeProcess;
use crate::harness::durable::DurableServer;
use crate::harness::patience::eventually_within;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mishap {
    ServerKilled,
    BackendsEnded,
    RecordsLocked,
    CyclesLocked,
    RollupsHeld,
    Hostility,
    PublishersCut,
    Reload,
}

impl Mishap {
    pub(super) const ALL: [Self; 8] = [
        Self::ServerKilled,
        Self::BackendsEnded,
        Self::RecordsLocked,
        Self::CyclesLocked,
        Self::RollupsHeld,
        Self::Hostility,
        Self::PublishersCut,
        Self::Reload,
    ];
}

/// What is as it always is, except for one mishap at a time.
pub(super) struct Stage<'a> {
    pub(super) plan: &'a Plan,
    pub(super) server: &'a DurableServer,
    pub(super) bridge: &'a BridgeProcess,
    pub(super) publishers: &'a Publishers,
    pub(super) weather: Arc<Weather>,
    pub(super) random: StdRng,
    pub(super) hostile: Hostile,
    /// Those that were lived through, with the time until everything was well again.
    pub(super) recoveries: Vec<(Mishap, Duration)>,
}

impl Stage<'_> {
    /// Lets it happen and waits until records are acknowledged, the program is ready and charts are up to date again.
    pub(super) async fn suffer(&mut self, mishap: Mishap) {
        self.weather.storm();
        match mishap {
            Mishap::ServerKilled => self.server.kill_everything(),
            Mishap::BackendsEnded => self.end_backends().await,
            Mishap::RecordsLocked => self.lock("usage_records").await,
            Mishap::CyclesLocked => self.lock("usage_cycles").await,
            Mishap::RollupsHeld => {
                self.hold("SELECT pg_advisory_xact_lock(hashtext('simbridge.rollup'))").await;
            }
            Mishap::Hostility => {
                self.hostile.strike(self.bridge.mqtt, &mut self.random, self.plan.long).await
            }
            Mishap::PublishersCut => self.cut().await,
            Mishap::Reload => self.reload().await,
        }
        let over = Instant::now();
        self.recover().await;
        self.recoveries.push((mishap, over.elapsed()));
        self.weather.clear();
    }

    async fn recover(&self) {
        // More than can have been under way: the last of these was sent after it was over.
        let under_way = self.plan.connections * self.plan.window;
        self.publishers.more_acked(under_way as u64 + 1).await;
        eventually_within(self.plan.patience, "readiness", async || {
            (self.bridge.get("/readyz").await.0 == 200).then_some(())
        })
        .await;
        let client = self.client().await;
        eventually_within(self.plan.patience, "charts that are up to date", async || {
            sleep(Duration::from_millis(100)).await;
            (lag(&client).await? < LAG).then_some(())
        })
        .await;
    }

    async fn client(&self) -> Client {
        eventually_within(self.plan.patience, "the database", async || connect(self.server).await).await
    }

    /// Holds what the statement takes for some seconds. Whoever waits for it is not told how long.
    async fn hold(&mut self, statement: &str) {
        let client = self.client().await;
        eventually_within(self.plan.patience, "a lock", async || {
            // A deadlock with a batch is possible, and either of the two may lose.
            let taken = client.batch_execute(&format!("BEGIN; {statement}")).await;
            if taken.is_err() {
                client.batch_execute("ROLLBACK").await.expect("the connection stands");
            }
            taken.ok()
        })
        .await;
        let shortest = (self.plan.between / 8).min(Duration::from_secs(3));
        let longest = (self.plan.between / 4).min(Duration::from_secs(10));
        sleep(self.random.random_range(shortest..longest)).await;
        client.batch_execute("ROLLBACK").await.expect("the connection stands");
    }

    async fn lock(&mut self, table: &str) {
        let mode = ["EXCLUSIVE", "ACCESS EXCLUSIVE"][self.random.random_range(0..2)];
        self.hold(&format!("LOCK TABLE {table} IN {mode} MODE")).await;
    }

    async fn end_backends(&self) {
        let client = self.client().await;
        let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                   WHERE application_name = 'simbridge' AND backend_type = 'client backend'";
        let ended: i64 = client.query_one(sql, &[]).await.expect("its connections").get(0);
        assert!(ended > 0, "the program has connections");
    }

    /// Several times: once without, and then with what was sent again outstanding.
    async fn cut(&mut self) {
        for _ in 0..3 {
            let (one_in, abort) = (self.random.random_range(1..4), self.random.random());
            let acked = self.publishers.acked();
            self.publishers.cut(one_in, abort);
            eventually_within(self.plan.patience, "acknowledgements after a cut", async || {
                (self.publishers.acked() > acked).then_some(())
            })
            .await;
            sleep(Duration::from_micros(self.random.random_range(0..50_000))).await;
        }
    }

    async fn reload(&self) {
        let metric = "simbridge_mqtt_certificate_reloads_total";
        let reloads = self.bridge.metric(metric).await;
        self.bridge.signal(Signal::SIGHUP);
        self.bridge.metric_becomes(metric, reloads + 1.0).await;
    }
}

/// A connection that is not taken for one of the program's.
pub(super) async fn connect(server: &DurableServer) -> Option<Client> {
    let mut config = server.postgres.config();
    config.application_name("soak");
    let (client, connection) = config.connect(tokio_postgres::NoTls).await.ok()?;
    tokio::spawn(connection);
    Some(client)
}
