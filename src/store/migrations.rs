//! Brings the schema up to date: each file of `migrations/` once, in order, in one transaction under an advisory lock
//! (ADR 0001). A second instance that starts at the same time waits; a running one of the same version is not disturbed.

use deadpool_postgres::Transaction;
use sha2::{Digest, Sha256};
use thiserror::Error;
use tokio_postgres::Row;

use super::{Statement, StatementMode, Store, StoreError, statement};

struct Migration {
    version: i32,
    name: &'static str,
    sql: &'static str,
}

macro_rules! migration {
    ($version:literal, $name:literal) => {
        Migration {
            version: $version,
            name: $name,
            sql: include_str!(concat!("../../migrations/V", $version, "__", $name, ".sql")),
        }
    };
}

static MIGRATIONS: [Migration; 38] = [
    migration!(1, "inventory"),
    migration!(2, "usage"),
    migration!(3, "cycles_and_partitions"),
    migration!(4, "rollups_and_invoices"),
    migration!(5, "rollup_tables"),
    migration!(6, "rollup_functions"),
    migration!(7, "rollup_moves"),
    migration!(8, "file_imports"),
    migration!(9, "sim_repair"),
    migration!(10, "retention"),
    migration!(11, "api_keys"),
    migration!(12, "http_ingestion"),
    migration!(13, "sim_lists"),
    migration!(14, "consumption"),
    migration!(15, "alerts"),
    migration!(16, "faster_rollups"),
    migration!(17, "live_figures"),
    migration!(18, "database_roles"),
    migration!(19, "retained_messages"),
    migration!(20, "broker_acl"),
    migration!(21, "exact_grants"),
    migration!(22, "mqtt_sessions"),
    migration!(23, "dashboard"),
    migration!(24, "faster_late_records"),
    migration!(25, "mqtt_waiting"),
    migration!(26, "usage_accounts"),
    migration!(27, "source_leases"),
    migration!(28, "told_sessions"),
    migration!(29, "pools"),
    migration!(30, "accounts_of_files"),
    migration!(31, "no_hashes_for_ingest"),
    migration!(32, "archives"),
    migration!(33, "readers_of_all_tenants"),
    migration!(34, "shorter_returns_of_months"),
    migration!(35, "steady_alerts"),
    migration!(36, "room_for_totals"),
    migration!(37, "rollups_along_indexes"),
    migration!(38, "cheaper_check_of_cycles"),
];

static LOCK: Statement = statement!("migration_lock");
static HAS_HISTORY: Statement = statement!("has_schema_history");
static CREATE_HISTORY: Statement = statement!("create_schema_history");
static HISTORY: Statement = statement!("schema_history");
static RECORD: Statement = statement!("record_migration", INT4, TEXT, TEXT);
static GRANT_ROLES: Statement = statement!("grant_roles");

/// What [`Store::migrate`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// Files that were applied now.
    pub applied: usize,
    /// Version of the schema after that.
    pub version: i32,
}

/// Why the schema cannot be used.
#[derive(Debug, Error)]
pub enum MigrationError {
    #[error(
        "the database has schema version {found}, and this simbridge knows versions up to {known}: \
         run the simbridge that made it, or a newer one"
    )]
    FromTheFuture { found: i32, known: i32 },
    #[error(
        "migration V{version} ({name}) was applied to this database with other contents than this simbridge has: \
         the schema is not the one that it expects"
    )]
    Altered { version: i32, name: String },
    #[error(
        "the database has schema version {found} and needs {known}, and this login may not change it: \
         run `simbridge migrate` as the owner of its tables"
    )]
    NotOwner { found: i32, known: i32 },
    #[error(
        "this login may not run simbridge: it has none of the roles serve, ingest and rollup in this database, \
         and does not own its tables"
    )]
    NoRole,
    #[error("migration V{version} ({name}) failed: {cause}")]
    Failed { version: i32, name: &'static str, cause: StoreError },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Applies what is missing.
    ///
    /// # Errors
    /// [`MigrationError`]; nothing was changed then.
    pub async fn migrate(&self) -> Result<Migrated, MigrationError> {
        let mut client = self.client().await?;
        let tx = client.transaction().await.map_err(StoreError::from)?;
        LOCK.rows(&tx, StatementMode::Unnamed, &[]).await?;
        let present = HAS_HISTORY.rows(&tx, StatementMode::Unnamed, &[]).await?;
        // Only where it is missing: PostgreSQL asks for the right to make tables before it looks whether there is one.
        if !present.first().is_some_and(|row| row.get("present")) {
            let created = CREATE_HISTORY.execute(&tx, StatementMode::Unnamed, &[]).await;
            created.map_err(|error| refused_to_others(error, 0))?;
        }
        let found = verify(&history(&tx).await?)?;
        let mut applied = 0;
        for migration in MIGRATIONS.iter().filter(|m| m.version > found) {
            tx.batch_execute(migration.sql).await.map_err(|error| {
                match refused_to_others(error.into(), found) {
                    MigrationError::Store(cause) => {
                        MigrationError::Failed { version: migration.version, name: migration.name, cause }
                    }
                    refused => refused,
                }
            })?;
            RECORD
                .execute(
                    &tx,
                    StatementMode::Unnamed,
                    &[&migration.version, &migration.name, &checksum(migration.sql)],
                )
                .await?;
            applied += 1;
        }
        if applied > 0 {
            GRANT_ROLES.rows(&tx, StatementMode::Unnamed, &[]).await?;
        }
        tx.commit().await.map_err(StoreError::from)?;
        Ok(Migrated { applied, version: latest() })
    }
}

/// Lacking privileges (42501) are told as what they are.
fn refused_to_others(error: StoreError, found: i32) -> MigrationError {
    match error.code() {
        Some("42501") => MigrationError::NotOwner { found, known: latest() },
        _ => MigrationError::Store(error),
    }
}

/// The version of a schema as it is; `None` where no simbridge was.
pub(super) async fn version(tx: &Transaction<'_>) -> Result<Option<i32>, MigrationError> {
    let present = HAS_HISTORY.rows(tx, StatementMode::Unnamed, &[]).await?;
    if !present.first().is_some_and(|row| row.get("present")) {
        return Ok(None);
    }
    verify(&history(tx).await?).map(Some)
}

async fn history(tx: &Transaction<'_>) -> Result<Vec<Row>, MigrationError> {
    HISTORY
        .rows(tx, StatementMode::Unnamed, &[])
        .await
        .map_err(|error| if error.code() == Some("42501") { MigrationError::NoRole } else { error.into() })
}

/// The version that this program brings a schema to.
pub(super) fn latest() -> i32 {
    MIGRATIONS.last().map_or(0, |m| m.version)
}

/// Compares what was applied with what this program has; returns the version of the database.
fn verify(history: &[Row]) -> Result<i32, MigrationError> {
    let mut found = 0;
    for row in history {
        found = row.get("version");
        let Some(known) = MIGRATIONS.iter().find(|m| m.version == found) else {
            let newest = history.last().map_or(found, |row| row.get("version"));
            return Err(MigrationError::FromTheFuture { found: newest, known: latest() });
        };
        if row.get::<_, &str>("checksum") != checksum(known.sql) {
            return Err(MigrationError::Altered { version: found, name: row.get("name") });
        }
    }
    Ok(found)
}

fn checksum(sql: &str) -> String {
    Sha256::digest(sql).iter().map(|byte| format!("{byte:02x}")).collect()
}
