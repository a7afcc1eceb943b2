//! What sources of messages count and tell.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use crate::domain::Clock;

use super::file::spool::metrics::{FileCounts, FileMetrics, FilesSnapshot};
pub(crate) use super::phase::{Phase, SourceKind};
use super::radius::metrics::RadiusMetrics;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SourceLabel {
    source: String,
}

/// Metrics of all sources. The label is the name in the configuration.
#[derive(Debug, Default)]
pub struct SourceMetrics {
    connected: Family<SourceLabel, Gauge>,
    connections: Family<SourceLabel, Counter>,
    failures: Family<SourceLabel, Counter>,
    sessions_lost: Family<SourceLabel, Counter>,
    received: Family<SourceLabel, Counter>,
    acknowledged: Family<SourceLabel, Counter>,
    ignored: Family<SourceLabel, Counter>,
    incomplete: Family<SourceLabel, Counter>,
    refused: Family<SourceLabel, Counter>,
    unknown_accounts: Family<SourceLabel, Counter>,
    accounts_in_trouble: Family<SourceLabel, Gauge>,
    unacknowledged: Family<SourceLabel, Gauge>,
    oldest_seconds: Family<SourceLabel, Gauge<f64, AtomicU64>>,
    pub(crate) radius: RadiusMetrics,
    files: FileMetrics,
    sources: Mutex<Vec<Arc<SourceState>>>,
}

impl SourceMetrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("source");
        registry.register(
            "connected",
            "1 while subscribed at the broker, or when the last look succeeded",
            self.connected.clone(),
        );
        registry.register("connections", "Times that it was subscribed", self.connections.clone());
        registry.register(
            "failures",
            "Connections that could not be made or ended by themselves",
            self.failures.clone(),
        );
        registry.register(
            "sessions_lost",
            "Times that the broker did not know the session any more",
            self.sessions_lost.clone(),
        );
        registry.register(
            "messages_received",
            "Messages that the broker delivered, or readings of sessions",
            self.received.clone(),
        );
        registry.register(
            "messages_acknowledged",
            "Messages acknowledged, or readings done with, after COMMIT",
            self.acknowledged.clone(),
        );
        registry.register(
            "messages_ignored",
            "Messages acknowledged without being stored, on topics that no pattern names",
            self.ignored.clone(),
        );
        registry.register(
            "incomplete_reads",
            "Looks that found what is read half-written; they are repeated at once",
            self.incomplete.clone(),
        );
        registry.register(
            "clients_refused",
            "Clients that a look could not count; the log says why",
            self.refused.clone(),
        );
        registry.register(
            "unknown_accounts",
            "Readings of accounts that stand for no SIM",
            self.unknown_accounts.clone(),
        );
        registry.register(
            "accounts_in_trouble",
            "Accounts that could not be read or counted when they were looked at last",
            self.accounts_in_trouble.clone(),
        );
        registry.register(
            "unacknowledged_messages",
            "Messages of the current connection that are not acknowledged yet",
            self.unacknowledged.clone(),
        );
        registry.register(
            "oldest_unacknowledged_seconds",
            "Age of the oldest of them",
            self.oldest_seconds.clone(),
        );
        self.radius.register(registry);
        self.files.register(registry);
    }

    /// The state of a source that is about to run.
    pub(crate) fn source(&self, kind: SourceKind, name: &str, clock: Clock) -> Arc<SourceState> {
        let label = SourceLabel { source: name.into() };
        let state = Arc::new(SourceState {
            kind,
            name: name.into(),
            clock,
            connected: self.connected.get_or_create(&label).clone(),
            connections: self.connections.get_or_create(&label).clone(),
            failures: self.failures.get_or_create(&label).clone(),
            sessions_lost: self.sessions_lost.get_or_create(&label).clone(),
            received: self.received.get_or_create(&label).clone(),
            acknowledged: self.acknowledged.get_or_create(&label).clone(),
            ignored: self.ignored.get_or_create(&label).clone(),
            incomplete: self.incomplete.get_or_create(&label).clone(),
            refused: self.refused.get_or_create(&label).clone(),
            unknown_accounts: self.unknown_accounts.get_or_create(&label).clone(),
            accounts_in_trouble: self.accounts_in_trouble.get_or_create(&label).clone(),
            unacknowledged: self.unacknowledged.get_or_create(&label).clone(),
            oldest_seconds: self.oldest_seconds.get_or_create(&label).clone(),
            files: (kind == SourceKind::Files).then(|| self.files.of(name)),
            now: Mutex::default(),
        });
        self.lock().push(state.clone());
        state
    }

    /// How each source stands, in the order of the configuration.
    pub(crate) fn snapshots(&self) -> Vec<SourceSnapshot> {
        self.lock().iter().map(|source| source.snapshot()).collect()
    }

    /// Brings up to date what changes by itself, before it is shown.
    pub(crate) fn refresh(&self) {
        for source in self.lock().iter() {
            source.oldest_seconds.set(source.oldest_age());
            if let Some(files) = &source.files {
                files.refresh(source.clock.now());
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<SourceState>>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a source stands.
#[derive(Clone, Debug)]
pub(crate) struct SourceSnapshot {
    pub(crate) kind: SourceKind,
    pub(crate) name: String,
    pub(crate) phase: Phase,
    /// Subscribed, or without a failure.
    pub(crate) working_since: Option<DateTime<Utc>>,
    pub(crate) last_message_at: Option<DateTime<Utc>>,
    pub(crate) received: u64,
    pub(crate) acknowledged: u64,
    pub(crate) unacknowledged: i64,
    pub(crate) oldest_unacknowledged_seconds: f64,
    /// After the first.
    pub(crate) reconnects: u64,
    pub(crate) failures: u64,
    /// What ended the connection before this one, or the last attempt.
    pub(crate) last_error: Option<String>,
    /// Of a directory.
    pub(crate) files: Option<FilesSnapshot>,
}

/// What one source counts and tells.
#[derive(Debug)]
pub(crate) struct SourceState {
    kind: SourceKind,
    name: String,
    clock: Clock,
    connected: Gauge,
    connections: Counter,
    failures: Counter,
    sessions_lost: Counter,
    received: Counter,
    acknowledged: Counter,
    ignored: Counter,
    incomplete: Counter,
    refused: Counter,
    unknown_accounts: Counter,
    accounts_in_trouble: Gauge,
    unacknowledged: Gauge,
    oldest_seconds: Gauge<f64, AtomicU64>,
    files: Option<Arc<FileCounts>>,
    now: Mutex<Now>,
}

#[derive(Debug, Default)]
struct Now {
    phase: Phase,
    working_since: Option<DateTime<Utc>>,
    last_message_at: Option<DateTime<Utc>>,
    oldest: Option<Instant>,
    last_error: Option<String>,
}

impl SourceState {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn connecting(&self) {
        self.lock().phase = Phase::Connecting;
    }

    pub(super) fn working(&self) {
        self.connected.set(1);
        self.connections.inc();
        let mut now = self.lock();
        now.phase = Phase::Working;
        now.working_since = Some(self.clock.now());
    }

    pub(super) fn session_lost(&self) {
        self.sessions_lost.inc();
    }

    /// The connection is gone, and what was unacknowledged belongs to the broker again.
    pub(super) fn failed(&self, error: String) {
        self.failures.inc();
        self.disconnected(Phase::Waiting);
        self.lock().last_error = Some(error);
    }

    /// A look at what is read ended well. Whether that is news.
    pub(super) fn succeeded(&self) -> bool {
        let news = self.lock().working_since.is_none();
        if news {
            self.working();
        }
        news
    }

    /// A look at what is read failed, this instance's own or that of another one. Whether that is news.
    pub(super) fn look_failed(&self, error: &str, own: bool) -> bool {
        if own {
            self.failures.inc();
        }
        let news = {
            let mut now = self.lock();
            let same = now.phase == Phase::Waiting && now.last_error.as_deref() == Some(error);
            now.last_error = Some(error.into());
            !same
        };
        self.disconnected(Phase::Waiting);
        news
    }

    /// Something failed that does not end the rest. Whether it is another thing than the last time.
    pub(super) fn fault(&self, error: &str) -> bool {
        self.failures.inc();
        self.lock().last_error.replace(error.into()).as_deref() != Some(error)
    }

    pub(super) fn unknown_account(&self) {
        self.unknown_accounts.inc();
    }

    pub(super) fn accounts_in_trouble(&self, accounts: usize) {
        self.accounts_in_trouble.set(i64::try_from(accounts).unwrap_or(i64::MAX));
    }

    /// Its task has panicked.
    pub(crate) fn defect(&self) {
        self.failed("a defect; the log has it".into());
    }

    pub(super) fn stopped(&self) {
        self.disconnected(Phase::Stopped);
    }

    fn disconnected(&self, phase: Phase) {
        self.connected.set(0);
        self.window(0, None);
        let mut now = self.lock();
        now.phase = phase;
        now.working_since = None;
    }

    /// Returns the time of the message.
    pub(super) fn message(&self) -> DateTime<Utc> {
        self.received.inc();
        let at = self.clock.now();
        self.lock().last_message_at = Some(at);
        at
    }

    /// What a directory counts.
    pub(super) fn files(&self) -> &FileCounts {
        self.files.as_deref().expect("a directory's state is made with it")
    }

    /// So many rows of a file were read and committed.
    pub(super) fn rows(&self, rows: u64) {
        if rows > 0 {
            self.received.inc_by(rows);
            self.acknowledged.inc_by(rows);
            self.lock().last_message_at = Some(self.clock.now());
        }
    }

    pub(super) fn acknowledged(&self) {
        self.acknowledged.inc();
    }

    pub(super) fn ignored(&self) {
        self.ignored.inc();
    }

    /// What was read was half-written.
    pub(super) fn incomplete(&self) {
        self.incomplete.inc();
    }

    pub(super) fn refused(&self, clients: u64) {
        self.refused.inc_by(clients);
    }

    /// What is unacknowledged now.
    pub(super) fn window(&self, messages: usize, oldest: Option<Instant>) {
        self.unacknowledged.set(i64::try_from(messages).unwrap_or(i64::MAX));
        self.lock().oldest = oldest;
    }

    fn oldest_age(&self) -> f64 {
        self.lock().oldest.map_or(0.0, |oldest| oldest.elapsed().as_secs_f64())
    }

    fn snapshot(&self) -> SourceSnapshot {
        let oldest_unacknowledged_seconds = self.oldest_age();
        let now = self.lock();
        SourceSnapshot {
            kind: self.kind,
            name: self.name.clone(),
            phase: now.phase,
            working_since: now.working_since,
            last_message_at: now.last_message_at,
            received: self.received.get(),
            acknowledged: self.acknowledged.get(),
            unacknowledged: self.unacknowledged.get(),
            oldest_unacknowledged_seconds,
            reconnects: self.connections.get().saturating_sub(1),
            failures: self.failures.get(),
            last_error: now.last_error.clone(),
            files: self.files.as_ref().map(|files| files.snapshot(self.clock.now())),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
