//! From the database to a file that was read back.

use std::fs::File;
use std::path::{Path, PathBuf};

use bytes::{Buf, Bytes};
use chrono::NaiveDate;
use deadpool_postgres::Transaction;
use futures_util::TryStreamExt;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use crate::store::{StatementMode, StoreError, migrations};

use super::check::whole;
use super::columns::{Column, TableColumn};
use super::error::{ArchiveError, Finding};
use super::file::{Reader, Writer};
use super::manifest::{Figures, Manifest, hex};
use super::place::{self, Unfinished};
use super::row_group::{ROWS, RowGroup, in_order};
use super::{COLUMNS, FIGURES, ROWS_OF_MONTH};

/// How a binary COPY begins, before its flags and its header extension.
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

/// A file that agrees with the database, under its own name.
pub(super) struct Exported {
    pub(super) manifest: Manifest,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

/// What the thread that writes is told.
enum Order {
    Write(RowGroup),
    Finish(String),
}

pub(super) async fn columns(tx: &Transaction<'_>) -> Result<Vec<TableColumn>, ArchiveError> {
    let rows = COLUMNS.rows(tx, StatementMode::Unnamed, &[]).await?;
    rows.iter().map(TableColumn::of).collect()
}

/// Writes what `usage_exporting` shows, which nobody changes meanwhile, reads it back and compares.
pub(super) async fn export(
    tx: &Transaction<'_>,
    archive: String,
    month: NaiveDate,
    target: PathBuf,
) -> Result<Exported, ArchiveError> {
    let columns: Vec<Column> = columns(tx).await?.into_iter().map(|table| table.column).collect();
    let schema_version = migrations::version(tx).await?.unwrap_or_default();
    let (unfinished, file) = Unfinished::begin(&target, &archive)?;
    let (orders, taken) = mpsc::channel(1);
    let writing = {
        let (path, columns) = (unfinished.path().to_owned(), columns.clone());
        tokio::task::spawn_blocking(move || write(file, &path, &columns, taken))
    };
    let sent = send(tx, &columns, &orders).await;
    let manifest = match sent {
        Ok(Some(rows_sha256)) => {
            // By PostgreSQL, not from what it sent.
            let figures = Figures::of(&FIGURES.rows(tx, StatementMode::Unnamed, &[]).await?);
            Some(Manifest::new(archive, month, schema_version, columns, rows_sha256, figures))
        }
        // The writer has ended, and says why.
        Ok(None) => None,
        Err(error) => return Err(error),
    };
    if let Some(manifest) = &manifest {
        let text = serde_json::to_string(manifest).expect("text and numbers are valid JSON");
        orders.send(Order::Finish(text)).await.ok();
    }
    drop(orders);
    writing.await.expect("writing a file does not panic")?;
    let manifest = manifest.ok_or(ArchiveError::Protocol("fewer rows than it announced"))?;
    let (file, expected) = (unfinished.path().to_owned(), manifest.clone());
    let path = file.clone();
    let (bytes, sha256) =
        whole(file, tokio::task::spawn_blocking(move || read_back(&path, &expected))).await?;
    unfinished.finish()?;
    Ok(Exported { manifest, path: target, bytes, sha256 })
}

/// Sends all rows to the writer; returns their digest, or `None` when the writer has ended.
async fn send(
    tx: &Transaction<'_>,
    columns: &[Column],
    orders: &mpsc::Sender<Order>,
) -> Result<Option<String>, ArchiveError> {
    let places = in_order(columns.len());
    let (mut digest, mut group) = (Sha256::new(), RowGroup::empty(columns));
    let mut rows = std::pin::pin!(rows(tx).await?);
    while let Some(tuple) = rows.try_next().await? {
        digest.update(&tuple);
        group.push(tuple, &places)?;
        if group.rows() == ROWS {
            let full = std::mem::replace(&mut group, RowGroup::empty(columns));
            if orders.send(Order::Write(full)).await.is_err() {
                return Ok(None);
            }
        }
    }
    if group.rows() > 0 && orders.send(Order::Write(group)).await.is_err() {
        return Ok(None);
    }
    Ok(Some(hex(digest)))
}

/// Rows of `usage_exporting` as binary COPY has them. The server sends each in a message of its own.
pub(super) async fn rows(
    tx: &Transaction<'_>,
) -> Result<impl futures_util::Stream<Item = Result<Bytes, ArchiveError>>, ArchiveError> {
    let messages = tx.copy_out(ROWS_OF_MONTH.sql).await.map_err(StoreError::from)?;
    let mut begun = false;
    Ok(messages.map_err(ArchiveError::from).try_filter_map(move |mut message| {
        let row = if std::mem::replace(&mut begun, true) { Ok(()) } else { skip_header(&mut message) };
        // The last one only says that there are no more.
        let row =
            row.map(|()| (!message.is_empty() && message[..] != (-1_i16).to_be_bytes()).then_some(message));
        std::future::ready(row)
    }))
}

fn skip_header(message: &mut Bytes) -> Result<(), ArchiveError> {
    const OTHER: ArchiveError = ArchiveError::Protocol("no binary COPY");
    if message.len() < SIGNATURE.len() + 8 || !message.starts_with(SIGNATURE) {
        return Err(OTHER);
    }
    message.advance(SIGNATURE.len());
    let (flags, extension) = (message.get_u32(), message.get_u32());
    // Neither exists yet, and either may change what follows.
    if flags != 0 || extension != 0 { Err(OTHER) } else { Ok(()) }
}

fn write(
    file: File,
    path: &Path,
    columns: &[Column],
    mut orders: mpsc::Receiver<Order>,
) -> Result<(), ArchiveError> {
    let failed = || ArchiveError::parquet("write", path);
    let mut writer = Writer::begin(file, columns).map_err(failed())?;
    while let Some(order) = orders.blocking_recv() {
        match order {
            Order::Write(group) => writer.write(&group).map_err(failed())?,
            Order::Finish(manifest) => {
                let file = writer.finish(manifest).map_err(failed())?;
                return file.sync_all().map_err(ArchiveError::io("sync", path));
            }
        }
    }
    // Whoever gives the orders failed, and says why.
    Ok(())
}

/// Reads the whole file and compares it with what the database said; returns its size and SHA-256.
fn read_back(path: &Path, expected: &Manifest) -> Result<(u64, String), ArchiveError> {
    let damaged = |finding: Finding| ArchiveError::ReadBackDiffers(finding.to_string());
    let reader = Reader::open(path).map_err(damaged)?;
    if reader.manifest != *expected {
        return Err(ArchiveError::ReadBackDiffers("what it says of itself".to_owned()));
    }
    if let Some(difference) = expected.difference(&reader.tally(path)?) {
        return Err(ArchiveError::ReadBackDiffers(difference));
    }
    place::fingerprint(path).map_err(ArchiveError::io("read", path))
}

#[cfg(test)]
mod tests {
    use super::super::columns::Kind;
    use super::super::manifest::Counting;
    use super::super::row_group::tests::numbers;
    use super::*;

    const NAMES: [&str; 7] = [
        "period_start",
        "data_upload_bytes",
        "data_download_bytes",
        "total_bytes",
        "sms_count",
        "voice_seconds",
        "id",
    ];

    fn columns() -> Vec<Column> {
        NAMES.map(|name| Column { name: name.into(), kind: Kind::Bigint, nullable: false }).to_vec()
    }

    fn group(ids: impl Iterator<Item = i64>) -> RowGroup {
        let mut group = RowGroup::empty(&columns());
        for id in ids {
            group.push(numbers(&[id, 1, 2, 3, 4, 5, id]), &in_order(7)).unwrap();
        }
        group
    }

    fn manifest(groups: &[RowGroup]) -> Manifest {
        let mut counting = Counting::of(&columns()).unwrap();
        for group in groups {
            counting.add(group).unwrap();
        }
        let tally = counting.tally();
        let month = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap();
        Manifest::new("a".into(), month, 32, columns(), tally.rows_sha256, tally.figures)
    }

    fn written(path: &Path, groups: Vec<RowGroup>, manifest: &Manifest) {
        let (orders, taken) = mpsc::channel(groups.len() + 1);
        for group in groups {
            orders.try_send(Order::Write(group)).ok().unwrap();
        }
        orders.try_send(Order::Finish(serde_json::to_string(manifest).unwrap())).ok().unwrap();
        write(File::create(path).unwrap(), path, &columns(), taken).unwrap();
    }

    /// Catches a month that is dropped for a file with a row too few, too many or another one, which says of itself what was expected.
    #[test]
    fn a_file_that_differs_from_the_database_is_found_when_it_is_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.parquet");
        let groups = || vec![group(0..5), group(5..9)];
        let expected = manifest(&groups());
        written(&path, groups(), &expected);
        let (bytes, sha256) = read_back(&path, &expected).unwrap();
        assert_eq!(place::fingerprint(&path).unwrap(), (bytes, sha256));
        let others =
            [vec![group(0..5), group(6..9)], vec![group(0..9), group(5..9)], vec![group(1..6), group(5..9)]];
        for other in others {
            written(&path, other, &expected);
            let refused = read_back(&path, &expected).unwrap_err();
            assert!(matches!(refused, ArchiveError::ReadBackDiffers(_)), "{refused}");
        }
        written(&path, groups(), &manifest(&[group(0..5)]));
        assert!(read_back(&path, &expected).is_err());
    }
}
