use std::sync::OnceLock;
use std::time::Duration;

use rand::distr::{Alphanumeric, SampleString};
use simbridge::store::embedded::{EmbeddedOptions, EmbeddedPostgres};
use simbridge::store::roles::{LoginCreated, RoleKind};
use simbridge::store::{Store, StoreOptions};

use super::given_server;

/// The server of this test run: the one that `SIMBRIDGE_TEST_DATABASE_URL` names, or else one that the first test that needs it
/// starts, and that ends with the process.
pub(crate) struct TestServer {
    _kept: Kept,
    /// Before the name of a database and behind it, of its superuser.
    address: Address,
    password: String,
}

/// What lives as long as the server is used.
enum Kept {
    Own { _postgres: EmbeddedPostgres },
    Given { _ours_alone: tokio_postgres::Client },
}

/// The parts of `postgres://login@place/database?parameters`.
struct Address {
    login: String,
    place: String,
    parameters: String,
}

impl Address {
    fn of(url: &str) -> Self {
        let parts = || {
            let (login, rest) = url.split_once("://")?.1.rsplit_once('@')?;
            let (place, rest) = rest.split_once('/')?;
            Some((login, place, rest.split_once('?').map_or("", |(_, parameters)| parameters)))
        };
        let (login, place, parameters) = parts().expect("postgres://user:password@host:port/database");
        Self { login: login.into(), place: place.into(), parameters: parameters.into() }
    }

    fn url(&self, login: &str, database: &str) -> String {
        format!("postgresql://{login}@{}/{database}?{}", self.place, self.parameters)
    }
}

/// What the program logs in as: neither a superuser nor the owner of the tables. What it needs beyond its grants fails here.
const LOGIN: &str = "bridge";

/// A database that every test's database is copied from: migrated, with partitions.
pub(crate) const TEMPLATE: &str = "simbridge_template";

impl TestServer {
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<TestServer> = OnceLock::new();
        SHARED.get_or_init(|| {
            // On a thread of its own, because the caller's runtime ends with its test.
            std::thread::spawn(|| {
                let runtime = tokio::runtime::Runtime::new().expect("a runtime");
                let server = runtime.block_on(Self::start());
                std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
                server
            })
            .join()
            .expect("the test server starts")
        })
    }

    async fn start() -> Self {
        let (kept, url) = match std::env::var("SIMBRIDGE_TEST_DATABASE_URL") {
            Ok(url) => (Kept::Given { _ours_alone: given_server::take(&url).await }, url),
            Err(_) => Self::launch().await,
        };
        let password = Alphanumeric.sample_string(&mut rand::rng(), 24);
        let server = Self { _kept: kept, address: Address::of(&url), password };
        server.make_template().await;
        server
    }

    async fn launch() -> (Kept, String) {
        let directory =
            tempfile::Builder::new().prefix("simbridge-test-").tempdir().expect("a directory").keep();
        // PostgreSQL may run under another account than the tests.
        open_to_others(&directory);
        let mut options = EmbeddedOptions::new(directory.join("data"));
        // Crash tests that need a durable server start one of their own.
        options.settings = vec![("fsync".into(), "off".into()), ("max_connections".into(), "300".into())];
        let postgres = EmbeddedPostgres::start(options).await.expect("PostgreSQL starts");
        postgres.stop_when_this_process_ends(Some(&directory)).expect("a watchdog");
        let url = postgres.url();
        (Kept::Own { _postgres: postgres }, url)
    }

    async fn make_template(&self) {
        self.admin().await.batch_execute(&format!("CREATE DATABASE {TEMPLATE}")).await.expect("a database");
        let store = store(self.config_for(TEMPLATE));
        store.migrate().await.expect("migrations apply");
        store.ensure_partitions(super::database::now(), 400).await.expect("partitions");
        store.create_roles("simbridge").await.expect("roles");
        let login = store.create_login(LOGIN, &self.password, RoleKind::Serve, &[]).await;
        assert_eq!(login.expect("a login"), LoginCreated::Created);
        drop(store);
        // A database cannot be copied while somebody is connected to it, and extensions have workers that stay.
        let close = format!(
            "ALTER DATABASE {TEMPLATE} ALLOW_CONNECTIONS false;
             SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{TEMPLATE}'"
        );
        self.admin().await.batch_execute(&close).await.expect("the login is a superuser");
    }

    /// As the owner of the tables.
    pub(crate) fn config_for(&self, database: &str) -> tokio_postgres::Config {
        self.owner_url_for(database).parse().expect("an address")
    }

    /// As what the program logs in as.
    pub(crate) fn serve_config_for(&self, database: &str) -> tokio_postgres::Config {
        let mut config = self.config_for(database);
        config.user(LOGIN).password(&self.password);
        config
    }

    /// A connection string for the program.
    pub(crate) fn url_for(&self, database: &str) -> String {
        self.url_as(LOGIN, &self.password, database)
    }

    pub(crate) fn url_as(&self, login: &str, password: &str, database: &str) -> String {
        self.address.url(&format!("{login}:{password}"), database)
    }

    /// A connection string of the owner of the tables.
    pub(crate) fn owner_url_for(&self, database: &str) -> String {
        self.address.url(&self.address.login, database)
    }

    pub(crate) async fn admin(&self) -> tokio_postgres::Client {
        connect(&self.config_for("postgres")).await
    }
}

pub(crate) async fn connect(config: &tokio_postgres::Config) -> tokio_postgres::Client {
    let (client, connection) = config.connect(tokio_postgres::NoTls).await.expect("the server answers");
    tokio::spawn(connection);
    client
}

pub(crate) fn store(config: tokio_postgres::Config) -> Store {
    store_with(config, Duration::from_secs(30))
}

pub(crate) fn store_with(config: tokio_postgres::Config, statement_timeout: Duration) -> Store {
    Store::new(StoreOptions {
        postgres: config,
        pool_size: 8,
        prepared_statements: true,
        statement_timeout,
        duty_idle_timeout: Duration::from_secs(5),
        ca_file: None,
    })
    .expect("options fit")
}

pub(crate) fn open_to_others(directory: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(directory, mode).expect("the directory is ours");
}
