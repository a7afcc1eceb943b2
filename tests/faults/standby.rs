//! Charts are read from a real streaming standby, which falls behind, falls silent and dies.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::Uid;
use reqwest::Client;
use serde_json::Value;
use simbridge::api::{hash_key, make_key};
use simbridge::store::embedded::{EmbeddedOptions, EmbeddedPostgres};
use simbridge::store::rollups::Lock;
use simbridge::store::sims::SimRow;
use tokio::process::Command;
use tokio_postgres::Config;
use tokio_postgres::config::Host;

use crate::harness::api::{client, sent};
use crate::harness::bridge::{BridgeOptions, BridgeProcess};
use crate::harness::database::{TENANT, now, sim};
use crate::harness::durable::DurableServer;
use crate::harness::pgbouncer::{PgBouncer, installed};
use crate::harness::pipeline::TestPipeline;
use crate::harness::server::{connect, open_to_others};
use crate::harness::{PATIENCE, eventually};
use crate::link::{Link, Passage, Place};

const SIM: &str = "8941000000000000001";
const FROM_STANDBY: &str = "simbridge_chart_reads_total{from=\"standby\"}";
const BEHIND: &str = "simbridge_chart_reads_total{from=\"database_standby_behind\"}";
const AWAY: &str = "simbridge_chart_reads_total{from=\"database_standby_away\"}";

/// A copy of the server's files that follows it.
async fn standby_of(server: &DurableServer) -> Arc<EmbeddedPostgres> {
    let directory = tempfile::Builder::new().prefix("simbridge-test-").tempdir().expect("a directory").keep();
    open_to_others(&directory);
    let data = directory.join("data");
    std::fs::create_dir(&data).expect("it is ours");
    open_to_others(&data);
    let client = server.client().await;
    let row = client.query_one("SHOW data_directory", &[]).await.expect("it is known");
    let original = PathBuf::from(row.get::<_, String>(0));
    let exe = std::fs::read_link(format!("/proc/{}/exe", server.pid())).expect("it runs");
    let config = server.postgres.config();
    let [Host::Unix(socket)] = config.get_hosts() else { panic!("a socket") };
    let mut command = Command::new(exe.with_file_name("pg_basebackup"));
    command.args([
        "--write-recovery-conf",
        "--checkpoint=fast",
        "--username=simbridge",
        "--no-password",
        "-D",
    ]);
    command.arg(data.join("postgres")).arg("-h").arg(socket);
    let password = String::from_utf8_lossy(config.get_password().expect("a password")).into_owned();
    command.env("PGPASSWORD", password).stdin(Stdio::null());
    let output = command.output().await.expect("pg_basebackup is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::copy(original.with_file_name("postgres.password"), data.join("postgres.password"))
        .expect("a copy");
    give(&data.join("postgres"), &original).await;
    let mut options = EmbeddedOptions::new(&data);
    options.start_timeout = PATIENCE;
    let postgres = EmbeddedPostgres::start(options).await.expect("the standby starts");
    postgres.stop_when_this_process_ends(Some(&directory)).expect("a watchdog");
    Arc::new(postgres)
}

/// PostgreSQL does not run as root, and starts on files of its own only.
async fn give(copy: &Path, original: &Path) {
    if Uid::effective().is_root() {
        let mut command = Command::new("chown");
        command.arg("-R").arg(format!("--reference={}", original.display())).arg(copy);
        assert!(command.status().await.expect("it is installed").success());
    }
}

struct Scene {
    server: DurableServer,
    standby: Arc<EmbeddedPostgres>,
    network: Link,
    bridge: BridgeProcess,
    client: Client,
    key: String,
    /// Each question is another one, so that no answer is known already.
    asked: u32,
    stored: i64,
}

impl Scene {
    async fn set() -> Self {
        Self::set_behind(async |_| None).await
    }

    /// Charts are read at the address that `before` gives for the standby, or at the standby.
    async fn set_behind(before: impl AsyncFnOnce(&Config) -> Option<String>) -> Self {
        let server = DurableServer::start().await;
        let store = server.store();
        let rows = [SimRow { rate_plan: None, ..sim(SIM) }];
        store.import_sims(TENANT, &rows, now()).await.expect("the import succeeds");
        let standby = standby_of(&server).await;
        let config = standby.config();
        let [Host::Unix(socket)] = config.get_hosts() else { panic!("a socket") };
        let network = Link::to(Place::Postgres(socket.join(".s.PGSQL.5432"))).await;
        let mut options = BridgeOptions::new(server.url());
        let read_url = before(&config).await.unwrap_or_else(|| server.url_through(network.address));
        options.set("database.read_url", read_url);
        options.set("database.read_timeout_ms", "1000");
        let bridge = BridgeProcess::start(&options).await;
        let key = make_key();
        let may = ["consumption:read".parse().expect("a permission")];
        let limits = [("reading".to_owned(), 100_000)].into();
        let added = store.add_api_key("default", "charts", &hash_key(&key), &may, &limits).await;
        added.expect("it is stored").expect("the tenant exists");
        Self { server, standby, network, bridge, client: client(), key, asked: 0, stored: 0 }
    }

    /// A record more, which the rollups have.
    async fn store(&mut self) {
        let store = self.server.store();
        let pipeline = TestPipeline::start(&store);
        let at = now().to_rfc3339();
        self.stored += 1_000;
        let record = format!(
            r#"{{"recordId":"r-{}","periodStart":"{at}","periodEnd":"{at}","usage":{{"totalBytes":1000}}}}"#,
            self.stored
        );
        pipeline.one(SIM, record).await;
        while store.roll_up(1_000, PATIENCE, Lock::Wait).await.expect("a roll-up").expect("waited").markers
            > 0
        {}
    }

    /// The bytes that the dashboard shows.
    async fn shown(&mut self) -> i64 {
        self.next_question().await
    }

    fn next_question(&mut self) -> impl Future<Output = i64> + use<> {
        self.asked += 1;
        let path = format!(
            "/api/consumption/kpis?start_date=2025-01-01&end_date=2029-{:02}-{:02}",
            1 + self.asked / 28 % 12,
            1 + self.asked % 28
        );
        let url = format!("http://{}{path}", self.bridge.http);
        let question = self.client.get(url).bearer_auth(&self.key);
        async move {
            let answer = sent(question).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            let body: Value = answer.json();
            body["data"]["dataUsage"]["value"].as_i64().expect("a number")
        }
    }

    /// Asks until the metric has grown; each answer on the way is the newest.
    async fn shown_by(&mut self, metric: &str) {
        let before = self.bridge.metric(metric).await;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while self.bridge.metric(metric).await == before {
            assert!(tokio::time::Instant::now() < deadline, "waited in vain: {metric}");
            assert_eq!(self.shown().await, self.stored);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn on_standby(&self, sql: &str) {
        connect(&self.standby.config()).await.batch_execute(sql).await.expect("it can");
    }
}

/// Catches statements that are named on one of the server's connections and run on another: none of these charts would come from
/// the standby.
#[tokio::test(flavor = "multi_thread")]
async fn charts_come_from_a_standby_behind_pgbouncer() {
    if !installed() {
        return;
    }
    let mut pooler = None;
    let mut scene = Scene::set_behind(async |standby| {
        let bouncer = PgBouncer::before(standby, 2).await;
        let url = bouncer.url(standby);
        pooler = Some(bouncer);
        Some(url)
    })
    .await;
    scene.store().await;
    scene.shown_by(FROM_STANDBY).await;
    let (of_standby, away) = (scene.bridge.metric(FROM_STANDBY).await, scene.bridge.metric(AWAY).await);
    for _ in 0..20 {
        let asked: Vec<_> = (0..5).map(|_| scene.next_question()).collect();
        for answer in futures_util::future::join_all(asked).await {
            assert_eq!(answer, scene.stored);
        }
    }
    assert_eq!(scene.bridge.metric(FROM_STANDBY).await, of_standby + 100.0);
    assert_eq!(scene.bridge.metric(AWAY).await, away);
}

/// Catches a chart of a standby that is behind (it would show less than before), and one that fails because the standby is gone.
#[tokio::test(flavor = "multi_thread")]
async fn charts_from_a_standby_are_never_older_than_those_of_the_database() {
    let mut scene = Scene::set().await;
    scene.store().await;
    scene.shown_by(FROM_STANDBY).await;

    for _ in 0..3 {
        scene.on_standby("SELECT pg_wal_replay_pause()").await;
        scene.store().await;
        scene.shown_by(BEHIND).await;
        scene.on_standby("SELECT pg_wal_replay_resume()").await;
        scene.shown_by(FROM_STANDBY).await;
    }

    scene.network.set(Passage::Silent);
    scene.shown_by(AWAY).await;
    scene.store().await;
    assert_eq!(scene.shown().await, scene.stored);
    scene.network.set(Passage::Open);
    scene.shown_by(FROM_STANDBY).await;

    scene.standby.stop().await.expect("it stops");
    scene.shown_by(AWAY).await;
    scene.store().await;
    assert_eq!(scene.shown().await, scene.stored);
    let told = "the standby does not answer; charts are read from the database";
    eventually("it is told", async || {
        scene.bridge.log().iter().any(|line| line.contains(told)).then_some(())
    })
    .await;
    assert_eq!(scene.bridge.terminate().await, Some(0));
}
