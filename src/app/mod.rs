//! The only place where things are wired together and tasks are spawned.

mod database;
mod logins;
mod maintenance;
mod mqtt;
mod mqtt_groups;
mod mqtt_sessions;
mod retained;
mod write_behind;
mod sources;
mod start_error;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::alerts::{self, metrics::AlertMetrics};
use crate::api;
use crate::broker::tls::reload_at_hangups;
use crate::broker::{Broker, BrokerOptions, Publisher, Pulse};
use crate::config::Config;
use crate::domain::{Clock, TenantId};
use crate::ingest::queue::IngestQueue;
use crate::ingest::topics::UsageTopics;
use crate::ingest::{self, DatabaseState};
use crate::metrics::Metrics;
use crate::reconcile;
use crate::replay::ReplayRules;
use crate::rollup;
use crate::shutdown::{Hangups, vital};
use crate::store::{Store, StoreError};
use crate::traces::Traces;

use mqtt::BrokerListeners;
use sources::Sources;

pub(crate) use sources::panel_by_name;

pub use database::{Database, Owner};
pub use mqtt::MqttAddresses;
pub use start_error::StartError;

/// The tenant of everything that names none.
pub const DEFAULT_TENANT: (TenantId, &str) = (TenantId(1), "default");

/// The broker's pulse beats once a second; what is later by less is a busy machine.
const SLOWEST_PULSE: Duration = Duration::from_secs(3);

/// How a bridge is started.
#[derive(Clone, Copy, Debug)]
pub struct StartOptions {
    pub clock: Clock,
    /// Demonstration: everybody may connect, wherever the broker listens.
    pub open: bool,
}

/// A running simbridge.
pub struct Bridge {
    pub store: Store,
    pub metrics: Arc<Metrics>,
    /// Where the broker listens without TLS and WebSocket, when it does.
    pub mqtt_addr: Option<SocketAddr>,
    /// Every way to the broker.
    pub mqtt: MqttAddresses,
    pub http_addr: Option<SocketAddr>,
    /// Set as the last step of the start; until then the start itself closes it.
    database: Option<Database>,
    readiness: Arc<api::Readiness>,
    /// Of the broker, if there is one.
    pulse: Option<Pulse>,
    /// Stops intake; what was received is committed and acknowledged.
    soft: CancellationToken,
    /// Stops everything at once.
    hard: CancellationToken,
    /// Stops what serves readers; they may look until the end.
    readers: CancellationToken,
    intake_tasks: TaskTracker,
    reader_tasks: TaskTracker,
    grace: Duration,
}

impl Bridge {
    /// Starts everything. On error nothing is left running.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(config: &Config, options: StartOptions) -> Result<Self, StartError> {
        // A library that brings a second provider would leave rustls without a choice. An error: it was installed before.
        rustls::crypto::ring::default_provider().install_default().ok();
        let hangups = Hangups::new().map_err(StartError::Signals)?;
        // Ports first: a taken one is found before a database is started for nothing.
        let mqtt = BrokerListeners::open(&config.mqtt, options.open).await?;
        let http = listen("HTTP", config.http.enabled, &config.http.listen, "--http-addr").await?;
        let traces = Traces::start(config.traces.options(&config.mqtt.instance_name).as_ref())?;
        let database = Database::open(config, Owner::Serve).await?.traced(&traces);
        let tls = mqtt.as_ref().and_then(BrokerListeners::tls);
        match Self::start_on(config, options, &database, mqtt, http).await {
            Ok(bridge) => {
                let reloading =
                    reload_at_hangups(tls, bridge.metrics.broker.clone(), hangups, bridge.soft.clone());
                // A task of the bridge, though it comes after those that the tracker was closed behind.
                bridge.intake_tasks.spawn(vital("certificates", reloading));
                Ok(Self { database: Some(database), ..bridge })
            }
            Err(error) => {
                database.close().await;
                Err(error)
            }
        }
    }

    async fn start_on(
        config: &Config,
        options: StartOptions,
        database: &Database,
        mqtt: Option<BrokerListeners>,
        http: Option<TcpListener>,
    ) -> Result<Self, StartError> {
        let (store, now) = (database.store.clone(), options.clock.now());
        prepare(&store, now, config.ingest.max_age_days.into()).await?;

        let (metrics, state) = (Arc::new(Metrics::new()), DatabaseState::default());
        let [soft, hard, readers] = [(); 3].map(|()| CancellationToken::new());
        let (intake_tasks, reader_tasks) = (TaskTracker::new(), TaskTracker::new());

        let queue = ingest::start(
            &config.ingest.pipeline_options(),
            store.clone(),
            options.clock,
            metrics.ingest.clone(),
            state.clone(),
            &intake_tasks,
            &hard,
        );
        metrics.watch_queue(queue.gauge());
        let stops = [&soft, &hard];
        let sources = Sources::new(config, options.clock, &store, &metrics, &queue, &state, stops);
        sources.start(&intake_tasks).await?;
        let readiness = Arc::new(api::Readiness::new(store.clone(), state.clone(), mqtt.is_some()));
        let addresses = mqtt.as_ref().map(BrokerListeners::addresses).unwrap_or_default();
        let (mqtt_addr, http_addr) = (addresses.tcp, http.as_ref().and_then(|on| on.local_addr().ok()));
        let (mut publisher, mut pulse) = (None, None);
        if let Some(listeners) = mqtt {
            let broker = broker(config, options, &store, &metrics, queue.clone(), &reader_tasks, &readers)?;
            (publisher, pulse) = (Some(broker.publisher()), Some(broker.pulse()));
            restore_broker(&broker, config, options.clock, &store, &reader_tasks, &readers).await?;
            listeners.spawn(broker, readiness.clone(), &intake_tasks, &soft, &hard);
        }
        if let Some(listener) = http {
            let posts = api::Posts::new(queue);
            intake_tasks.spawn(vital("posts", close_at(soft.clone(), posts.clone())));
            let api = api::ApiOptions {
                config: &config.http,
                replay: ReplayRules::new(config),
                clock: options.clock,
                demo: options.open.then_some(DEFAULT_TENANT.0),
                readiness: readiness.clone(),
                metrics: metrics.clone(),
                store: store.clone(),
                standby: database.standby.clone(),
                posts,
                database: state,
                key_uses: api::KeyUses::new(options.clock),
                stop: readers.clone(),
                alerts: api::AlertLimits::new(&config.alerts, options.open),
            };
            spawn_http(listener, api, &reader_tasks, &readers);
        }
        spawn_alerts(config, options, &store, &metrics.alerts, publisher, &reader_tasks, &readers);
        spawn_upkeep(config, options.clock, &store, &metrics, &reader_tasks, &readers);
        intake_tasks.close();
        reader_tasks.close();
        Ok(Self {
            database: None,
            store,
            metrics,
            mqtt_addr,
            mqtt: addresses,
            http_addr,
            readiness,
            pulse,
            soft,
            hard,
            readers,
            intake_tasks,
            reader_tasks,
            grace: Duration::from_millis(config.shutdown.grace_ms),
        })
    }

    /// What has not moved for `patience`, if anything has not, for a watchdog: to start afresh helps then. A database that is
    /// away is none of it. Not to be asked once the bridge is stopped.
    pub fn stuck(&self, patience: Duration) -> Option<&'static str> {
        let patience = patience.max(SLOWEST_PULSE);
        self.pulse.as_ref().filter(|pulse| pulse.age() > patience).map(|_| "the broker")
    }

    /// Soft stop: no new connections, no new messages; waits, at most the grace period, until everything that was received
    /// is committed and acknowledged. Returns whether all of it was. Readers and the database go on.
    pub async fn drain(&self) -> bool {
        self.readiness.stopping.store(true, Ordering::Relaxed);
        self.soft.cancel();
        let drained = tokio::time::timeout(self.grace, self.intake_tasks.wait()).await.is_ok();
        if !drained {
            let left = self.metrics.ingest.balance().in_flight;
            warn!(unacknowledged = left, "grace period is over; their senders will send them again");
            self.hard.cancel();
            self.intake_tasks.wait().await;
        }
        drained
    }

    /// Ends what is left, the private database last.
    pub async fn close(self) {
        self.soft.cancel();
        self.hard.cancel();
        self.intake_tasks.wait().await;
        self.readers.cancel();
        // They may wait for a database that does not answer; what they have begun, it takes back.
        if tokio::time::timeout(self.grace, self.reader_tasks.wait()).await.is_err() {
            warn!("ending although some work in the background still waits for the database");
        }
        if let Some(database) = self.database {
            database.close().await;
        }
        self.store.traces().end().await;
        info!("stopped");
    }
}

/// What a batch relies on.
async fn prepare(store: &Store, now: DateTime<Utc>, max_age_days: u64) -> Result<(), StartError> {
    store.migrate().await?;
    store.ensure_partitions(now, max_age_days).await?;
    store.roll_cycles(now).await?;
    Ok(())
}

/// Gives a broker that has no clients yet what it had before it was stopped, and keeps what changes.
async fn restore_broker(
    broker: &Broker,
    config: &Config,
    clock: Clock,
    store: &Store,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<(), StoreError> {
    retained::attach(broker, store, clock, tasks, stop).await?;
    mqtt_sessions::attach(broker, &config.mqtt, store, clock, tasks, stop).await
}

async fn listen(
    what: &'static str,
    enabled: bool,
    address: &str,
    flag: &'static str,
) -> Result<Option<TcpListener>, StartError> {
    if !enabled {
        return Ok(None);
    }
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(Some(listener)),
        Err(cause) => Err(StartError::Listen { what, address: address.into(), flag, cause }),
    }
}

/// Raises alerts, calls webhooks and, with a broker, retains alerts on it.
fn spawn_alerts(
    config: &Config,
    start: StartOptions,
    store: &Store,
    metrics: &Arc<AlertMetrics>,
    publisher: Option<Publisher>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) {
    let options = || config.alerts.options(start.open);
    let (store, metrics, stop) = (|| store.clone(), || metrics.clone(), || stop.clone());
    tasks.spawn(vital("alerts", alerts::raise(store(), start.clock, options(), metrics(), stop())));
    tasks.spawn(vital("webhooks", alerts::deliver(store(), start.clock, options(), metrics(), stop())));
    if let Some(publisher) = publisher {
        let published = alerts::publish(store(), start.clock, options(), publisher, metrics(), stop());
        tasks.spawn(vital("alerts on MQTT", published));
    }
}

/// What goes on beside intake: rollups, checks of every total, cycles and partitions.
fn spawn_upkeep(
    config: &Config,
    clock: Clock,
    store: &Store,
    metrics: &Arc<Metrics>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) {
    tasks.spawn(vital(
        "rollup",
        rollup::work(store.clone(), clock, config.rollup.options(), metrics.rollup.clone(), stop.clone()),
    ));
    if config.reconcile.enabled {
        tasks.spawn(vital(
            "reconcile",
            reconcile::watch(
                store.clone(),
                clock,
                config.reconcile.options(),
                metrics.reconcile.clone(),
                stop.clone(),
            ),
        ));
    }
    let max_age_days = config.ingest.max_age_days.into();
    let directory = config.database.url.is_empty().then(|| config.data_dir.clone());
    tasks.spawn(vital(
        "maintenance",
        maintenance::run(store.clone(), clock, max_age_days, directory, metrics.clone(), stop.clone()),
    ));
}

/// The broker, and beside it what watches its logins.
fn broker(
    config: &Config,
    options: StartOptions,
    store: &Store,
    metrics: &Metrics,
    queue: IngestQueue,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<Broker, StartError> {
    let broker = Broker::new(BrokerOptions {
        config: config.mqtt.clone(),
        topics: UsageTopics::parse(&config.mqtt.topics).expect("checked when the configuration was loaded"),
        queue,
        access: logins::access(config, options.open, store)?,
        clock: options.clock,
        metrics: metrics.broker.clone(),
    });
    logins::spawn_watch(&broker, store, tasks, stop);
    Ok(broker)
}

fn spawn_http(
    listener: TcpListener,
    options: api::ApiOptions<'_>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) {
    let config = options.config.clone();
    tasks.spawn(vital("key uses", options.key_uses.clone().run(options.store.clone(), stop.clone())));
    let state = api::ApiState::new(options);
    tasks.spawn(vital("http", api::serve(listener, config, state, stop.clone())));
}

async fn close_at(soft: CancellationToken, posts: api::Posts) {
    soft.cancelled().await;
    posts.close();
}
