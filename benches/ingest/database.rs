use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chrono::Utc;
use simbridge::domain::{Clock, TenantId};
use simbridge::inventory;
use simbridge::store::embedded::{EmbeddedOptions, EmbeddedPostgres};
use simbridge::store::sims::{IMPORT_CHUNK, SimRow};
use simbridge::store::{Store, StoreOptions};
use simulator::fleet::{Fleet, FleetSpec};
use tempfile::TempDir;
use tokio_postgres::{Client, Config, NoTls};

static NEXT: AtomicUsize = AtomicUsize::new(0);

/// A server on which databases can be made.
pub(crate) struct BenchServer {
    config: Config,
    url: String,
    /// Ended with the process.
    private: Option<Private>,
}

struct Private {
    postgres: EmbeddedPostgres,
    directory: PathBuf,
}

/// A fresh database with schema, partitions and SIMs.
pub(crate) struct BenchDatabase {
    name: String,
    pub(crate) store: Store,
    config: Config,
    /// For the program.
    pub(crate) url: String,
}

impl BenchServer {
    pub(crate) async fn start() -> Self {
        if let Ok(url) = std::env::var("BENCH_DATABASE_URL") {
            return Self { config: url.parse().expect("a database address"), url, private: None };
        }
        Self::start_private().await
    }

    /// One that can be stopped.
    pub(crate) async fn start_private() -> Self {
        let directory = readable_directory().keep();
        let postgres = launch(&directory).await;
        Self {
            config: postgres.config(),
            url: postgres.url(),
            private: Some(Private { postgres, directory }),
        }
    }

    /// In order, without those who are connected.
    pub(crate) async fn stop(&self) {
        let private = self.private.as_ref().expect("only a private server is stopped");
        private.postgres.stop().await.expect("it stops");
    }

    /// Returns when it accepts connections, at the same address.
    pub(crate) async fn start_again(&mut self) {
        let private = self.private.as_mut().expect("only a private server is stopped");
        private.postgres = launch(&private.directory).await;
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
            duty_idle_timeout: Duration::from_secs(5),
            ca_file: None,
        })
        .expect("options fit");
        store.migrate().await.expect("migrations apply");
        let now = Clock::System.now();
        store.ensure_partitions(now, 60).await.expect("partitions can be made");
        provision(&store, sims, now).await;
        let url = self.url_for(&name);
        BenchDatabase { name, store, config, url }
    }
}

impl BenchServer {
    /// The address with another database's name in it.
    fn url_for(&self, name: &str) -> String {
        let (address, options) = self.url.split_once('?').map_or((self.url.as_str(), ""), |(a, o)| (a, o));
        let (server, _) = address.rsplit_once('/').expect("an address with a database");
        if options.is_empty() { format!("{server}/{name}") } else { format!("{server}/{name}?{options}") }
    }
}

impl BenchDatabase {
    /// CPU seconds that the server's processes for this database have used so far; tells more than the wall clock on a
    /// machine that others use too.
    pub(crate) fn server_cpu_seconds(&self) -> f64 {
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let ours = processes.filter(|process| {
            let command = std::fs::read_to_string(process.path().join("cmdline")).unwrap_or_default();
            command.contains(&format!(" {} ", self.name))
        });
        ours.map(|process| cpu_seconds(&process.path())).sum()
    }

    pub(crate) async fn connect(&self) -> Client {
        connect(&self.config).await
    }
}

/// For a server, whose account may be another one.
pub(crate) fn readable_directory() -> TempDir {
    let directory = tempfile::Builder::new().prefix("simbridge-bench-").tempdir().expect("a directory");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(directory.path(), mode).expect("it is ours");
    directory
}

async fn launch(directory: &Path) -> EmbeddedPostgres {
    let mut options = EmbeddedOptions::new(directory.join("data"));
    if let Ok(size) = std::env::var("BENCH_SHARED_BUFFERS") {
        options.settings.push(("shared_buffers".into(), size));
    }
    let postgres = EmbeddedPostgres::start(options).await.expect("PostgreSQL");
    postgres.stop_when_this_process_ends(Some(directory)).expect("a watchdog");
    postgres
}

/// CPU seconds of the process with this directory in /proc.
pub(crate) fn cpu_seconds(process: &Path) -> f64 {
    let stat = std::fs::read_to_string(process.join("stat")).unwrap_or_default();
    // After the command in parentheses: state is field 3, utime 14, stime 15 (proc(5)).
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    ticks as f64 / 100.0
}

/// The fleet that every contender's records are of.
pub(crate) fn fleet(sims: usize) -> FleetSpec {
    FleetSpec { sims: u32::try_from(sims).expect("a number of SIMs"), seed: 1 }
}

async fn provision(store: &Store, sims: usize, now: chrono::DateTime<Utc>) {
    let csv = Fleet::generate(fleet(sims)).inventory_csv();
    let rows: Vec<SimRow> =
        inventory::read_csv(&csv[..]).expect("a header").collect::<Result<_, _>>().expect("good rows");
    for chunk in rows.chunks(IMPORT_CHUNK) {
        store.import_sims(TenantId(1), chunk, now).await.expect("SIMs can be imported");
    }
}

async fn connect(config: &Config) -> Client {
    let (client, connection) = config.connect(NoTls).await.expect("the server answers");
    tokio::spawn(connection);
    client
}
