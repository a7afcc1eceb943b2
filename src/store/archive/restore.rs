//! From a file back into the database.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, NaiveDate, Utc};
use deadpool_postgres::Transaction;
use futures_util::{SinkExt, TryStreamExt};
use tokio::sync::mpsc;

use crate::store::{StatementMode, Store, StoreError};

use super::check::whole;
use super::columns::layout;
use super::error::ArchiveError;
use super::export;
use super::file::Reader;
use super::manifest::{Counting, Figures, Manifest};
use super::row_group::{ROWS, RowGroup};
use super::{
    ATTEMPTS, Archive, ArchiveState, FIGURES, LOAD, MAKE_TABLE, PAUSE, PREPARE, RETURN, Stored, alone, begin,
    refused,
};

/// Rows are sent to the server in pieces of about this size.
const PIECE_BYTES: usize = 64 << 10;
const PIECES: usize = 4;

/// Flags and the length of the header extension are zero.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();

/// What became of a month that is back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Returned {
    /// Records that follow SIMs that were provisioned, moved or reset meanwhile.
    pub stamped: i64,
    /// Keys that had been forgotten and were made anew.
    pub remembered: i64,
}

impl Store {
    /// Archives that have to be restored for the records since `from` to be back, in this order: newest first.
    ///
    /// # Errors
    /// [`ArchiveError::NotArchived`] when that month is none of them.
    pub async fn archives_since(&self, from: NaiveDate) -> Result<Vec<Archive>, ArchiveError> {
        let mut archives = self.archives().await?;
        archives.retain(|archive| archive.state != ArchiveState::Restored && archive.month >= from);
        if !archives.iter().any(|archive| archive.month == from) {
            return Err(ArchiveError::NotArchived(from));
        }
        archives.reverse();
        Ok(archives)
    }

    /// Puts the newest archived month back into `usage_records`, from its file, or from where it waits for being archived.
    ///
    /// # Errors
    /// [`ArchiveError`]; nothing was changed then.
    pub async fn restore_month(
        &self,
        archive: &Archive,
        directory: Option<&Path>,
        now: DateTime<Utc>,
    ) -> Result<Returned, ArchiveError> {
        let mut client = self.client().await?;
        let mut tx = client.transaction().await?;
        begin(&tx).await?;
        if let (ArchiveState::Archived, Some(stored), Some(path)) =
            (archive.state, &archive.stored, archive.file_in(directory))
        {
            load(&tx, stored, path).await?;
        }
        let row = put_in_place(&mut tx, archive, now, self.duty_idle).await?;
        tx.commit().await?;
        Ok(row)
    }
}

/// Fills the table `usage_restoring` from a file, and compares what is in it with what was archived.
async fn load(tx: &Transaction<'_>, stored: &Stored, path: PathBuf) -> Result<(), ArchiveError> {
    MAKE_TABLE.rows(tx, StatementMode::Unnamed, &[]).await?;
    let manifest = &stored.manifest;
    let layout = layout(&export::columns(tx).await?, &manifest.columns)?;
    let (pieces, mut taken) = mpsc::channel(PIECES);
    let (stored, wanted, file) = (stored.clone(), layout.clone(), path.clone());
    let reading = tokio::task::spawn_blocking(move || {
        let reader = stored.open(&path)?;
        read(&reader, &path, &wanted, &pieces)
    });
    let sink = tx.copy_in::<_, Bytes>(LOAD.sql).await?;
    let mut sink = std::pin::pin!(sink);
    sink.send(Bytes::from_static(HEADER)).await?;
    while let Some(piece) = taken.recv().await {
        sink.send(piece).await?;
    }
    // A COPY that is dropped unfinished stores nothing.
    whole(file, reading).await?;
    sink.send(Bytes::copy_from_slice(&TRAILER)).await?;
    sink.finish().await?;
    compare(tx, manifest, &layout).await
}

fn read(
    reader: &Reader,
    path: &Path,
    layout: &[Option<usize>],
    pieces: &mpsc::Sender<Bytes>,
) -> Result<(), ArchiveError> {
    // Whoever takes them failed, and says why.
    const GONE: ArchiveError = ArchiveError::Protocol("nobody takes the rows");
    let mut piece = Vec::with_capacity(2 * PIECE_BYTES);
    reader.groups(path, |group| {
        group.tuples(layout, |tuple| {
            piece.extend_from_slice(tuple);
            if piece.len() >= PIECE_BYTES {
                let full = std::mem::replace(&mut piece, Vec::with_capacity(2 * PIECE_BYTES));
                pieces.blocking_send(full.into()).map_err(|_| GONE)?;
            }
            Ok(())
        })
    })?;
    pieces.blocking_send(piece.into()).map_err(|_| GONE)
}

/// The table as PostgreSQL counts it, and each value in it, against what was archived.
async fn compare(
    tx: &Transaction<'_>,
    manifest: &Manifest,
    layout: &[Option<usize>],
) -> Result<(), ArchiveError> {
    let mut counting =
        Counting::of(&manifest.columns).map_err(|f| ArchiveError::RestoredDiffers(f.to_string()))?;
    let mut group = RowGroup::empty(&manifest.columns);
    let mut rows = std::pin::pin!(export::rows(tx).await?);
    while let Some(tuple) = rows.try_next().await? {
        group.push(tuple, layout)?;
        if group.rows() == ROWS {
            counting.add(&std::mem::replace(&mut group, RowGroup::empty(&manifest.columns)))?;
        }
    }
    counting.add(&group)?;
    let mut found = counting.tally();
    found.figures = Figures::of(&FIGURES.rows(tx, StatementMode::Unnamed, &[]).await?);
    match manifest.difference(&found) {
        Some(difference) => Err(ArchiveError::RestoredDiffers(difference)),
        None => Ok(()),
    }
}

/// What was found before writers have to wait.
struct Prepared {
    remembered: i64,
    seen_version: i64,
    moved: Option<Vec<String>>,
}

/// Makes the table a partition again.
async fn put_in_place(
    tx: &mut Transaction<'_>,
    archive: &Archive,
    now: DateTime<Utc>,
    idle: Duration,
) -> Result<Returned, ArchiveError> {
    let row = &PREPARE.rows(&*tx, StatementMode::Unnamed, &[&archive.id]).await.map_err(refused)?[0];
    let prepared = Prepared {
        remembered: row.get("remembered"),
        seen_version: row.get("seen_version"),
        moved: row.get("moved"),
    };
    for attempt in 1.. {
        let point = tx.savepoint("alone").await?;
        let attached = match alone(&point, idle).await {
            Ok(()) => attach(&point, archive, now, &prepared).await,
            Err(error) => Err(error),
        };
        match attached {
            Ok(stamped) => {
                point.commit().await?;
                return Ok(Returned { stamped, remembered: prepared.remembered });
            }
            // A batch with keys that were made anew here waits for them, and this for the batch.
            Err(error) if error.lock_not_available() || error.deadlocked() => {
                point.rollback().await?;
                if attempt == ATTEMPTS {
                    return Err(ArchiveError::InUse);
                }
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Err(refused(error)),
        }
    }
    unreachable!("the last attempt returned")
}

async fn attach(
    tx: &Transaction<'_>,
    archive: &Archive,
    now: DateTime<Utc>,
    prepared: &Prepared,
) -> Result<i64, StoreError> {
    let Prepared { seen_version, moved, .. } = prepared;
    let rows = RETURN.rows(tx, StatementMode::Unnamed, &[&archive.id, &now, seen_version, moved]).await?;
    Ok(rows[0].get("stamped"))
}
