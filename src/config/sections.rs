use std::path::PathBuf;
use std::time::Duration;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::ingest::{BatchLimits, PipelineOptions};
use crate::payload::PayloadLimits;
use crate::reconcile::ReconcileOptions;
use crate::rollup::RollupOptions;

use super::alerts::AlertsConfig;
use super::http::HttpConfig;
use super::mapping::MappingConfig;
use super::mqtt::MqttConfig;
use super::source::SourceConfig;
use super::traces::TracesConfig;

/// The whole configuration. `config/simbridge.toml` shows every key with its default and reason.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the private PostgreSQL and what belongs to it live.
    pub data_dir: PathBuf,
    pub database: DatabaseConfig,
    pub postgres: PostgresConfig,
    pub mqtt: MqttConfig,
    pub source: SourceConfig,
    /// How files of other systems are read.
    pub mapping: Vec<MappingConfig>,
    pub ingest: IngestConfig,
    pub rollup: RollupConfig,
    pub reconcile: ReconcileConfig,
    pub archive: ArchiveConfig,
    pub alerts: AlertsConfig,
    pub http: HttpConfig,
    pub shutdown: ShutdownConfig,
    pub log: LogConfig,
    pub traces: TracesConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: "./data".into(),
            database: DatabaseConfig::default(),
            postgres: PostgresConfig::default(),
            mqtt: MqttConfig::default(),
            source: SourceConfig::default(),
            mapping: Vec::new(),
            ingest: IngestConfig::default(),
            rollup: RollupConfig::default(),
            reconcile: ReconcileConfig::default(),
            archive: ArchiveConfig::default(),
            alerts: AlertsConfig::default(),
            http: HttpConfig::default(),
            shutdown: ShutdownConfig::default(),
            log: LogConfig::default(),
            traces: TracesConfig::default(),
        }
    }
}

/// A PostgreSQL of yours. Without `url` simbridge runs a private one.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct DatabaseConfig {
    /// `postgres://user:password@host/database?sslmode=require`; empty for the private PostgreSQL.
    pub url: String,
    /// A standby of it, from which charts are read; empty for none.
    pub read_url: String,
    /// A standby that does not tell its position within this time is left alone for a while; a chart that it has not made by then is
    /// made by the database.
    pub read_timeout_ms: u64,
    /// Connections at most.
    pub pool_size: usize,
    /// False behind PgBouncer in transaction pooling mode.
    pub prepared_statements: bool,
    /// After so long without an answer a transaction is given up and tried again; after so long without a statement the server ends
    /// it.
    pub statement_timeout_ms: u64,
    /// Of what one instance does at a time: after so long without a statement the server ends it, and another instance takes over.
    pub duty_idle_timeout_ms: u64,
    /// PEM file with the authority of the server's certificate, beside the machine's own.
    pub ca_file: PathBuf,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            read_url: String::new(),
            read_timeout_ms: 5_000,
            pool_size: 10,
            prepared_statements: true,
            statement_timeout_ms: 30_000,
            duty_idle_timeout_ms: 5_000,
            ca_file: PathBuf::new(),
        }
    }
}

/// The private PostgreSQL.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct PostgresConfig {
    /// Directory that holds `initdb` and `postgres`; empty to look in the usual places.
    pub bin_dir: PathBuf,
    /// MiB of memory in which the server keeps pages of tables; 0 for a share of what there is.
    pub shared_buffers_mb: u32,
}

/// Old months of records, in files.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ArchiveConfig {
    /// Directory into which `simbridge archive create` writes; empty to name it each time.
    pub directory: PathBuf,
}

/// The pipeline from a message to a committed record.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct IngestConfig {
    /// Messages that may wait for a writer.
    pub queue_max_messages: usize,
    /// Payload bytes that may wait or be in writing.
    pub queue_max_bytes: u32,
    /// Batches under way at once.
    pub writers: usize,
    pub batch_max_messages: usize,
    pub batch_max_bytes: usize,
    /// Records of one array or batch payload.
    pub payload_max_records: usize,
    /// How far `periodStart` may lie ahead.
    pub max_future_hours: u32,
    /// How old `periodStart` may be.
    pub max_age_days: u32,
}

impl Default for IngestConfig {
    fn default() -> Self {
        Self {
            queue_max_messages: 20_000,
            queue_max_bytes: 64 << 20,
            writers: 2,
            batch_max_messages: 4_000,
            batch_max_bytes: 2 << 20,
            payload_max_records: 1_000,
            max_future_hours: 24,
            max_age_days: 400,
        }
    }
}

impl IngestConfig {
    /// What the decoder accepts.
    pub fn payload_limits(&self) -> PayloadLimits {
        PayloadLimits {
            max_records: self.payload_max_records,
            max_future: TimeDelta::hours(self.max_future_hours.into()),
            max_age: TimeDelta::days(self.max_age_days.into()),
        }
    }

    /// How the pipeline is dimensioned.
    pub fn pipeline_options(&self) -> PipelineOptions {
        PipelineOptions {
            queue_max_messages: self.queue_max_messages,
            queue_max_bytes: self.queue_max_bytes,
            writers: self.writers,
            batch: BatchLimits { max_messages: self.batch_max_messages, max_bytes: self.batch_max_bytes },
            payload: self.payload_limits(),
        }
    }
}

/// Hours, days and months from the records. When scheduled runs take place is a setting in the database.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RollupConfig {
    /// Records of one transaction, about.
    pub chunk_records: u32,
    /// SIMs of one transaction while the days of a tenant move to another time zone.
    pub zone_chunk_sims: u32,
    /// Batches that wait for so long are rolled up between the scheduled runs too.
    pub flush_after_ms: u64,
    /// For how long one run may take.
    pub run_limit_seconds: u64,
}

impl Default for RollupConfig {
    fn default() -> Self {
        Self { chunk_records: 250_000, zone_chunk_sims: 500, flush_after_ms: 4_000, run_limit_seconds: 600 }
    }
}

impl RollupConfig {
    /// How rollups are done.
    pub fn options(&self) -> RollupOptions {
        RollupOptions {
            chunk_records: self.chunk_records.into(),
            zone_chunk_sims: i32::try_from(self.zone_chunk_sims).unwrap_or(i32::MAX),
            flush_after: Duration::from_millis(self.flush_after_ms),
            run_limit: Duration::from_secs(self.run_limit_seconds),
        }
    }
}

/// The invariants, checked all the time.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReconcileConfig {
    pub enabled: bool,
    /// Time between two checks, at least.
    pub pause_ms: u64,
    /// Records of the SIMs that are looked at together, about.
    pub slice_records: u32,
    /// Share of the time in which something is checked, at most.
    pub max_busy_percent: u32,
}

impl Default for ReconcileConfig {
    fn default() -> Self {
        Self { enabled: true, pause_ms: 5_000, slice_records: 20_000, max_busy_percent: 3 }
    }
}

impl ReconcileConfig {
    /// How the checks are done.
    pub fn options(&self) -> ReconcileOptions {
        ReconcileOptions {
            pause: Duration::from_millis(self.pause_ms),
            slice_records: self.slice_records.into(),
            max_busy_percent: self.max_busy_percent,
        }
    }
}

/// How the program ends.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShutdownConfig {
    /// After SIGTERM, what was received has this long to be committed and acknowledged.
    pub grace_ms: u64,
}

impl Default for ShutdownConfig {
    fn default() -> Self {
        Self { grace_ms: 10_000 }
    }
}

/// Log events.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// `auto` (text on a terminal, JSON otherwise), `text` or `json`.
    pub format: String,
    /// Which events, in the syntax of `RUST_LOG`, which overrides it.
    pub filter: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: "auto".into(), filter: "info".into() }
    }
}

impl Config {
    /// What no single field can tell.
    pub(super) fn fault(&self) -> Option<(&'static str, String)> {
        let positive = [
            ("database.pool_size", self.database.pool_size as u64),
            ("database.statement_timeout_ms", self.database.statement_timeout_ms),
            ("database.read_timeout_ms", self.database.read_timeout_ms),
            ("database.duty_idle_timeout_ms", self.database.duty_idle_timeout_ms),
            ("ingest.queue_max_messages", self.ingest.queue_max_messages as u64),
            ("ingest.queue_max_bytes", self.ingest.queue_max_bytes.into()),
            ("ingest.writers", self.ingest.writers as u64),
            ("ingest.batch_max_messages", self.ingest.batch_max_messages as u64),
            ("ingest.batch_max_bytes", self.ingest.batch_max_bytes as u64),
            ("ingest.payload_max_records", self.ingest.payload_max_records as u64),
            ("ingest.max_age_days", self.ingest.max_age_days.into()),
            ("rollup.chunk_records", self.rollup.chunk_records.into()),
            ("rollup.zone_chunk_sims", self.rollup.zone_chunk_sims.into()),
            ("reconcile.pause_ms", self.reconcile.pause_ms),
            ("reconcile.slice_records", self.reconcile.slice_records.into()),
            ("rollup.run_limit_seconds", self.rollup.run_limit_seconds),
            ("http.max_connections", self.http.max_connections as u64),
            ("http.head_timeout_ms", self.http.head_timeout_ms),
            ("http.body_max_bytes", self.http.body_max_bytes as u64),
            ("http.import_max_bytes", self.http.import_max_bytes as u64),
            ("http.request_timeout_ms", self.http.request_timeout_ms),
            ("http.post_timeout_ms", self.http.post_timeout_ms),
            ("http.idempotency_hours", self.http.idempotency_hours.into()),
            ("http.session_idle_minutes", self.http.session_idle_minutes.into()),
            ("http.dashboard_session_hours", self.http.dashboard_session_hours.into()),
            ("http.dashboard_sessions_per_key", self.http.dashboard_sessions_per_key.into()),
        ];
        if let Some((key, _)) = positive.into_iter().find(|(_, value)| *value == 0) {
            return Some((key, "must be at least 1".into()));
        }
        // Each directory has a writer of its own.
        let least = self.ingest.writers + self.source.files.len() + 2;
        if self.database.pool_size < least {
            let problem = format!("must be at least ingest.writers + directories of files + 2 = {least}");
            return Some(("database.pool_size", problem));
        }
        if self.ingest.batch_max_bytes > 16 << 20 {
            // With the bound below it also keeps the sum of a batch within 64 bits: 170,000 records of 2^45.
            return Some(("ingest.batch_max_bytes", "must be at most 16777216".into()));
        }
        if self.ingest.payload_max_records > 10_000 {
            return Some(("ingest.payload_max_records", "must be at most 10000".into()));
        }
        if !(1..=100).contains(&self.reconcile.max_busy_percent) {
            return Some(("reconcile.max_busy_percent", "must be from 1 to 100".into()));
        }
        if let Some(fault) = self.alerts.fault().or_else(|| self.traces.fault()) {
            return Some(fault);
        }
        if self.ingest.max_age_days > 3_660 {
            return Some(("ingest.max_age_days", "must be at most 3660 (each month is a partition)".into()));
        }
        if self.postgres.shared_buffers_mb != 0 && !(16..=65_536).contains(&self.postgres.shared_buffers_mb) {
            return Some(("postgres.shared_buffers_mb", "must be 0, or from 16 to 65536".into()));
        }
        if !["auto", "text", "json"].contains(&self.log.format.as_str()) {
            return Some(("log.format", "must be auto, text or json".into()));
        }
        if self.http.enabled && self.http.listen.parse::<std::net::SocketAddr>().is_err() {
            return Some(("http.listen", "must be an address and port, such as 127.0.0.1:8080".into()));
        }
        None
    }
}
