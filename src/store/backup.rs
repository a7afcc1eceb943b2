//! Backups of the database, and their way back (ADR 0023).
//!
//! A backup is a directory with the dump of one snapshot and a manifest: what the snapshot held, counted in the database
//! itself. It has its name only when the dump was read back and agreed with that.

mod error;
mod manifest;
mod place;
mod programs;
mod read_back;

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use deadpool_postgres::Transaction;
use tokio_postgres::IsolationLevel;

pub use error::BackupError;
use manifest::{DUMP, MANIFEST};
pub use manifest::{Figures, Manifest};
use place::Unfinished;
use programs::Programs;

use super::{
    MigrationError, PostgresAddress, Statement, StatementMode, Store, StoreError, migrations, statement,
};

static SNAPSHOT: Statement = statement!("backup_snapshot");
static FIGURES: Statement = statement!("backup_figures");
static ROLES: Statement = statement!("backup_roles");
static TARGET: Statement = statement!("restore_target");
static ANALYZE: Statement = statement!("analyze");

/// The first schema with database roles.
const ROLES_SINCE: i32 = 18;

/// Where the database is, for programs that connect by themselves.
#[derive(Clone, Debug)]
pub struct Place {
    pub address: PostgresAddress,
    /// As [`StoreOptions::ca_file`](super::StoreOptions::ca_file).
    pub ca_file: Option<PathBuf>,
    /// Where PostgreSQL's programs are; searched for as well.
    pub bin_dir: Option<PathBuf>,
}

/// What a restore did.
#[derive(Debug)]
pub struct Restored {
    pub manifest: Manifest,
    /// Of the database, when the backup had any; the error when this login may not make them.
    pub roles: Option<(String, Result<(), StoreError>)>,
}

impl Store {
    /// Backs up what is committed now into a new directory, while others go on writing. The schema is left as it is, also
    /// when it is older than this program's.
    ///
    /// # Errors
    /// [`BackupError`]; nothing bears the name of the directory then.
    pub async fn backup(
        &self,
        place: &Place,
        directory: &Path,
        now: DateTime<Utc>,
    ) -> Result<Manifest, BackupError> {
        let unfinished = Unfinished::begin(directory)?;
        let mut client = self.client().await?;
        let snapshot = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead);
        let tx = snapshot.read_only(true).start().await?;
        let schema_version = migrations::version(&tx).await?.ok_or(BackupError::NoData)?;
        let row = &SNAPSHOT.rows(&tx, StatementMode::Unnamed, &[]).await?[0];
        let schema: String = row.get("schema");
        let mut manifest = Manifest::new(now, schema_version, row.get("server_version"));
        if schema_version >= ROLES_SINCE {
            let roles = ROLES.rows(&tx, StatementMode::Unnamed, &[]).await?;
            manifest.roles = roles.first().map(|row| row.get("prefix"));
        }
        let programs = Programs::find(place, major(manifest.server_version))?;
        let dump = unfinished.path().join(DUMP);
        let file = unfinished.create(DUMP)?;
        let synced = file.try_clone().map_err(BackupError::io("write", &dump))?;
        programs.dump(row.get("snapshot"), file).await?;
        synced.sync_all().map_err(BackupError::io("sync", &dump))?;
        manifest.figures = figures(&tx).await?;
        tx.rollback().await?;

        let found = programs.read_back(&dump, &schema).await?;
        if let Some(difference) = manifest.figures.difference(&found) {
            return Err(BackupError::ReadBackDiffers(difference));
        }
        (manifest.dump_bytes, manifest.dump_sha256) = fingerprint(&dump).await?;
        let text = serde_json::to_vec_pretty(&manifest).expect("text and numbers are valid JSON");
        unfinished.write(MANIFEST, &text)?;
        unfinished.finish()?;
        Ok(manifest)
    }

    /// Fills an empty database with a backup that [`check`] was content with. What the schema lacks is left to
    /// [`Store::migrate`].
    ///
    /// # Errors
    /// [`BackupError`]; the database is as empty as it was then, unless counting what was restored fails, or
    /// [`BackupError::RestoredDiffers`].
    pub async fn restore(
        &self,
        place: &Place,
        directory: &Path,
        manifest: Manifest,
    ) -> Result<Restored, BackupError> {
        let client = self.client().await?;
        let target = &TARGET.rows(&client, StatementMode::Unnamed, &[]).await?[0];
        if let Some(table) = target.get("present") {
            return Err(BackupError::TargetNotEmpty { table });
        }
        let (backup, server) = (major(manifest.server_version), major(target.get("server_version")));
        if server < backup {
            return Err(BackupError::OlderServer { backup, server });
        }
        // The server may end connections that say nothing for long.
        drop(client);
        Programs::find(place, server)?.restore(&directory.join(DUMP)).await?;
        let client = self.client().await?;
        ANALYZE.execute(&client, StatementMode::Unnamed, &[]).await?;
        let rows = FIGURES.rows(&client, StatementMode::Unnamed, &[]).await?;
        if let Some(difference) = manifest.figures.difference(&Figures::of(&rows[0])) {
            return Err(BackupError::RestoredDiffers(difference));
        }
        let roles = match &manifest.roles {
            Some(prefix) => Some((prefix.clone(), self.create_roles(prefix).await)),
            None => None,
        };
        Ok(Restored { manifest, roles })
    }
}

/// Reads a backup without a database: whether it is one, whole, and nothing that only a newer program understands.
///
/// # Errors
/// [`BackupError`].
pub async fn check(directory: &Path) -> Result<Manifest, BackupError> {
    let manifest = Manifest::read(directory)?;
    let known = migrations::latest();
    if manifest.schema_version > known {
        return Err(MigrationError::FromTheFuture { found: manifest.schema_version, known }.into());
    }
    let dump = directory.join(DUMP);
    let (bytes, sha256) = fingerprint(&dump).await?;
    let damaged = |what| Err(BackupError::Damaged { directory: directory.to_owned(), what });
    if bytes != manifest.dump_bytes {
        return damaged(format!("{DUMP} has {bytes} bytes instead of {}", manifest.dump_bytes));
    }
    if sha256 != manifest.dump_sha256 {
        return damaged(format!("{DUMP} is not what was written"));
    }
    Ok(manifest)
}

async fn figures(tx: &Transaction<'_>) -> Result<Figures, StoreError> {
    Ok(Figures::of(&FIGURES.rows(tx, StatementMode::Unnamed, &[]).await?[0]))
}

async fn fingerprint(dump: &Path) -> Result<(u64, String), BackupError> {
    let path = dump.to_owned();
    let read = tokio::task::spawn_blocking(move || place::fingerprint(&path)).await;
    read.expect("reading a file does not panic").map_err(BackupError::io("read", dump))
}

fn major(server_version: i32) -> i32 {
    server_version / 10_000
}
