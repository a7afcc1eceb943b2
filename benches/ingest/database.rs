use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chrono::Utc;
use simbridge::domain::{Clock, Iccid, TenantId};
use simbridge::store::sims::{IMPORT_CHUNK, SimRow};
use simbridge::store::{Store, StoreOptions};
use tokio_postgres::{Client, Config, NoTls};

use crate::workload::iccid;

static NEXT: AtomicUsize = AtomicUsize::new(0);

/// A server on which databases can be made.
pub(crate) struct BenchServer {
    config: Config,
}

/// A fresh database with schema, partitions and SIMs.
pub(crate) struct BenchDatabase {
    name: String,
    pub(crate) store: Store,
    config: Config,
}

impl BenchServer {
    pub(crate) async fn start() -> Self {
        let url = std::env::var("BENCH_DATABASE_URL").expect("BENCH_DATABASE_URL");
        Self { config: url.parse().expect("a database address") }
    }

    pub(crate) async fn database(&self, sims: usize) -> BenchDatabase {
        let name = format!("bench_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let admin = connect(&self.config).await;
        admin.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("a database can be made");
        let mut config = self.config.clone();
        config.dbname(&name);
        let store = Store::new(StoreOptions {
            postgres: config.clone(),
            pool_size: 8,
            prepared_statements: true,
            statement_timeout: Duration::from_secs(60),
            ca_file: None,
        })
        .expect("options fit");
        store.migrate().await.expect("migrations apply");
        let now = Clock::System.now();
        store.ensure_partitions(now, 60).await.expect("partitions can be made");
        provision(&store, sims, now).await;
        BenchDatabase { name, store, config }
    }
}

impl BenchDatabase {
    /// CPU seconds that the server's processes for this database have used so far; tells more than the wall clock on a
    /// machine that others use too.
    pub(crate) fn server_cpu_seconds(&self) -> f64 {
        let mut ticks = 0u64;
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let read = |name: &str| std::fs::read_to_string(entry.path().join(name)).unwrap_or_default();
            if read("cmdline").contains(&format!(" {} ", self.name)) {
                let stat = read("stat");
                // After the command in parentheses: state is field 3, utime 14, stime 15 (proc(5)).
                let fields: Vec<&str> =
                    stat.rsplit_once(')').map_or(Vec::new(), |(_, rest)| rest.split_whitespace().collect());
                ticks +=
                    fields.iter().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum::<u64>();
            }
        }
        ticks as f64 / 100.0
    }

    pub(crate) async fn connect(&self) -> Client {
        connect(&self.config).await
    }
}

async fn provision(store: &Store, sims: usize, now: chrono::DateTime<Utc>) {
    let rows: Vec<SimRow> = (0..sims).map(sim_row).collect();
    for chunk in rows.chunks(IMPORT_CHUNK) {
        store.import_sims(TenantId(1), chunk, now).await.expect("SIMs can be imported");
    }
}

fn sim_row(sim: usize) -> SimRow {
    SimRow {
        iccid: Iccid::parse(&iccid(sim)).expect("19 digits"),
        imsi: None,
        msisdn: None,
        carrier: Some(format!("Carrier {}", sim % 5)),
        mccmnc: None,
        rate_plan: Some("Standard".into()),
        price_per_mb: Some("0.01".into()),
        included_bytes: None,
        currency: None,
        data_limit_bytes: None,
        customer_id: None,
        status: None,
        device_name: None,
        latitude: None,
        longitude: None,
        location_name: None,
        cycle_day: None,
    }
}

async fn connect(config: &Config) -> Client {
    let (client, connection) = config.connect(NoTls).await.expect("the server answers");
    tokio::spawn(connection);
    client
}
