//! Months of records in files of their own, and their way back (ADR 0026).
//!
//! A month is taken out of `usage_records` first: from then on nobody changes it, nobody waits, and everything else is as if
//! retention had given it up. Then it is written to a file, which is read back; and the transaction that notes the file drops it. A kill at
//! any moment leaves the month in the database, or its file.

mod check;
mod columns;
mod error;
mod export;
mod file;
mod manifest;
mod place;
mod restore;
mod row_group;

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use deadpool_postgres::Transaction;
use tokio_postgres::IsolationLevel;
use tokio_postgres::types::Json;

use super::retention::{LIMIT_LOCK_WAIT, LOCK_WAIT};
use super::sims::INVENTORY_EXCLUSIVE;
use super::{LIMIT_DUTY, Statement, StatementMode, Store, StoreError, statement};

pub use check::check_file;
pub use error::{ArchiveError, Finding};
use export::Exported;
use file::Reader;
pub use manifest::{Day, Figures, Manifest};
pub use restore::Returned;

static LOCK: Statement = statement!("archive_lock");
static UNLIMITED: Statement = statement!("limit_transaction", TEXT, TEXT);
static PENDING: Statement = statement!("pending_archive");
static TAKE_OUT: Statement = statement!("take_out_usage_month", TIMESTAMPTZ, TIMESTAMPTZ);
static HOLD: Statement = statement!("hold_archiving");
static VIEW: Statement = statement!("view_usage_month", TEXT);
static PARTITION: Statement = statement!("usage_partition", DATE);
static FINISH: Statement = statement!("finish_archive", TEXT, TIMESTAMPTZ, TEXT, INT8, TEXT, JSONB);
static DROP: Statement = statement!("drop_archived_month");
static LIST: Statement = statement!("list_archives");
static COLUMNS: Statement = statement!("archive_columns");
static FIGURES: Statement = statement!("archive_figures");
static ROWS_OF_MONTH: Statement = statement!("archive_rows");
static MAKE_TABLE: Statement = statement!("make_restoring_table");
static LOAD: Statement = statement!("load_archive");
static PREPARE: Statement = statement!("prepare_usage_month", TEXT);
static RETURN: Statement = statement!("return_usage_month", TEXT, TIMESTAMPTZ, INT8, TEXT_ARRAY);
static RAW_FLOOR_DUE: Statement = statement!("raw_floor_due", TIMESTAMPTZ, INT4);

/// Attempts to take a month out. Each may hold up writers for some seconds.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// Where the records of a month are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArchiveState {
    /// Out of `usage_records`, and in no file yet.
    Pending,
    /// In the file alone.
    Archived,
    /// Back in `usage_records`; the file is a copy of what they were.
    Restored,
}

impl ArchiveState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Archived => "archived",
            Self::Restored => "restored",
        }
    }
}

/// One row of `usage_archives`.
#[derive(Clone, Debug)]
pub struct Archive {
    pub id: String,
    pub month: NaiveDate,
    pub state: ArchiveState,
    pub taken_out_at: DateTime<Utc>,
    pub restored_at: Option<DateTime<Utc>>,
    /// `None` while it is pending.
    pub stored: Option<Stored>,
}

/// The file of an archive, as it was when it was written.
#[derive(Clone, Debug)]
pub struct Stored {
    pub archived_at: DateTime<Utc>,
    pub file: PathBuf,
    pub bytes: u64,
    /// In hexadecimal digits.
    pub sha256: String,
    pub manifest: Manifest,
}

/// A file that was written.
#[derive(Debug)]
pub struct Written {
    pub month: NaiveDate,
    pub file: PathBuf,
    pub bytes: u64,
    pub manifest: Manifest,
}

impl From<Exported> for Written {
    fn from(exported: Exported) -> Self {
        let Exported { manifest, path, bytes, .. } = exported;
        Self { month: manifest.from.date_naive(), file: path, bytes, manifest }
    }
}

impl Store {
    /// First moment that `raw_days` keep.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn raw_floor_due(
        &self,
        now: DateTime<Utc>,
        raw_days: i32,
    ) -> Result<DateTime<Utc>, StoreError> {
        let client = self.client().await?;
        let rows = RAW_FLOOR_DUE.rows(&client, StatementMode::Unnamed, &[&now, &raw_days]).await?;
        Ok(rows[0].get("due"))
    }

    /// All archives, oldest month first.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn archives(&self) -> Result<Vec<Archive>, StoreError> {
        let client = self.client().await?;
        let rows = LIST.rows(&client, StatementMode::Unnamed, &[]).await?;
        Ok(rows.iter().map(Archive::of).collect())
    }

    /// Archives the oldest month that lies wholly below `before`, or goes on with one that was begun: writes it into
    /// `directory`, reads it back, and drops it. `None` when there is none.
    ///
    /// # Errors
    /// [`ArchiveError`]; the records are still in the database then.
    pub async fn archive_next(
        &self,
        before: DateTime<Utc>,
        directory: &Path,
        now: DateTime<Utc>,
    ) -> Result<Option<Written>, ArchiveError> {
        let directory = place::try_directory(directory)?;
        if self.pending().await?.is_none() && self.take_out(before, now).await?.is_none() {
            return Ok(None);
        }
        let mut client = self.client().await?;
        let tx = client.transaction().await?;
        begin(&tx).await?;
        let Some((id, month)) = pending(&tx).await? else { return Err(ArchiveError::Busy) };
        HOLD.execute(&tx, StatementMode::Unnamed, &[]).await?;
        VIEW.rows(&tx, StatementMode::Unnamed, &[&"usage_archiving"]).await?;
        let target = directory.join(place::file_name(month));
        may_be_written(&tx, &target, &id).await?;
        let exported = export::export(&tx, id.clone(), month, target).await?;
        let (path, bytes) = (exported.path.to_string_lossy().into_owned(), exported.bytes as i64);
        let done = FINISH
            .execute(
                &tx,
                StatementMode::Unnamed,
                &[&id, &now, &path, &bytes, &exported.sha256, &Json(&exported.manifest)],
            )
            .await?;
        if done != 1 {
            return Err(ArchiveError::Busy);
        }
        DROP.rows(&tx, StatementMode::Unnamed, &[]).await?;
        tx.commit().await?;
        Ok(Some(exported.into()))
    }

    /// Writes the file of a month and leaves its records where they are.
    ///
    /// # Errors
    /// [`ArchiveError`]; there is no file then.
    pub async fn copy_month(&self, month: NaiveDate, directory: &Path) -> Result<Written, ArchiveError> {
        let directory = place::try_directory(directory)?;
        let mut client = self.client().await?;
        let tx = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).start().await?;
        UNLIMITED.rows(&tx, StatementMode::Unnamed, &[&"0", &"0"]).await?;
        let rows = PARTITION.rows(&tx, StatementMode::Unnamed, &[&month]).await?;
        let partition: String = rows.first().ok_or(ArchiveError::NoMonth(month))?.get("name");
        VIEW.rows(&tx, StatementMode::Unnamed, &[&partition]).await?;
        let target = directory.join(place::file_name(month));
        if target.try_exists().map_err(ArchiveError::io("look at", &target))? {
            return Err(ArchiveError::Exists(target));
        }
        let id = format!("copy-{:016x}", rand::random::<u64>());
        let exported = export::export(&tx, id, month, target).await?;
        tx.rollback().await?;
        Ok(exported.into())
    }

    async fn pending(&self) -> Result<Option<NaiveDate>, ArchiveError> {
        let client = self.client().await?;
        let rows = PENDING.rows(&client, StatementMode::Unnamed, &[]).await?;
        Ok(rows.first().map(|row| row.get("month")))
    }

    /// Takes the oldest month below a moment out of `usage_records`.
    async fn take_out(
        &self,
        before: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Option<NaiveDate>, ArchiveError> {
        for attempt in 1.. {
            match self.try_to_take_out(before, now).await {
                Err(ArchiveError::Store(error)) if error.lock_not_available() => {
                    if attempt == ATTEMPTS {
                        return Err(ArchiveError::InUse);
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                other => return other,
            }
        }
        unreachable!("the last attempt returned")
    }

    async fn try_to_take_out(
        &self,
        before: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Option<NaiveDate>, ArchiveError> {
        let mut client = self.client().await?;
        let tx = client.transaction().await?;
        begin(&tx).await?;
        alone(&tx, self.duty_idle).await?;
        let rows = TAKE_OUT.rows(&tx, StatementMode::Unnamed, &[&now, &before]).await.map_err(refused)?;
        if rows[0].get("waiting") {
            return Err(ArchiveError::NotRolledUp);
        }
        let taken: Option<NaiveDate> = rows[0].get("taken");
        if taken.is_some() {
            tx.commit().await?;
        }
        Ok(taken)
    }
}

impl Archive {
    fn of(row: &tokio_postgres::Row) -> Self {
        let manifest: Option<Json<Manifest>> = row.get("manifest");
        let stored = manifest.map(|Json(manifest)| Stored {
            archived_at: row.get("archived_at"),
            file: PathBuf::from(row.get::<_, String>("file")),
            bytes: row.get::<_, i64>("file_bytes").unsigned_abs(),
            sha256: row.get("file_sha256"),
            manifest,
        });
        let state = match row.get("state") {
            "archived" => ArchiveState::Archived,
            "restored" => ArchiveState::Restored,
            _ => ArchiveState::Pending,
        };
        Self {
            id: row.get("id"),
            month: row.get("month"),
            state,
            taken_out_at: row.get("taken_out_at"),
            restored_at: row.get("restored_at"),
            stored,
        }
    }
}

/// The only archive command at work, for as long as the transaction takes.
async fn begin(tx: &Transaction<'_>) -> Result<(), ArchiveError> {
    // Nothing is said while a file is written.
    UNLIMITED.rows(tx, StatementMode::Unnamed, &[&"0", &"0"]).await?;
    let granted = LOCK.rows(tx, StatementMode::Unnamed, &[]).await?[0].get("granted");
    if granted { Ok(()) } else { Err(ArchiveError::Busy) }
}

/// Writers wait from here to the end of the transaction, or until a command that is frozen or gone has been idle for so long.
async fn alone(tx: &Transaction<'_>, idle: Duration) -> Result<(), StoreError> {
    LIMIT_DUTY.rows(tx, StatementMode::Unnamed, &[&idle.as_millis().to_string()]).await?;
    LIMIT_LOCK_WAIT.rows(tx, StatementMode::Unnamed, &[&LOCK_WAIT.as_millis().to_string()]).await?;
    // What the next statement sees must be younger than the lock.
    INVENTORY_EXCLUSIVE.rows(tx, StatementMode::Unnamed, &[]).await?;
    Ok(())
}

async fn pending(tx: &Transaction<'_>) -> Result<Option<(String, NaiveDate)>, ArchiveError> {
    let rows = PENDING.rows(tx, StatementMode::Unnamed, &[]).await?;
    Ok(rows.first().map(|row| (row.get("id"), row.get("month"))))
}

/// What the functions of the database say of a month.
fn refused(error: StoreError) -> ArchiveError {
    match error.refusal() {
        Some(message) => ArchiveError::Refused(message),
        None => error.into(),
    }
}

/// A file of that name that another archive made is not replaced; one of the same archive is what a kill left, and one of an
/// archive that was restored is older than what is written now.
async fn may_be_written(tx: &Transaction<'_>, target: &Path, id: &str) -> Result<(), ArchiveError> {
    let path = target.to_owned();
    let found = tokio::task::spawn_blocking(move || Reader::open(&path).map(|reader| reader.manifest));
    let ours = match found.await {
        Ok(Err(Finding::Missing)) => return Ok(()),
        Ok(Ok(manifest)) => Some(manifest.archive),
        // The library panics over some files that are damaged.
        Ok(Err(_)) | Err(_) => None,
    };
    let restored = |archive: &Archive| archive.state == ArchiveState::Restored;
    let known = LIST.rows(tx, StatementMode::Unnamed, &[]).await?;
    let replaced = ours.is_some_and(|found| {
        found == id || known.iter().map(Archive::of).any(|archive| restored(&archive) && archive.id == found)
    });
    if replaced { Ok(()) } else { Err(ArchiveError::Exists(target.to_owned())) }
}
