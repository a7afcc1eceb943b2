//! Cumulative readings become amounts: each session's newest reading is locked, compared and moved on in the transaction
//! that stores the records.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use deadpool_postgres::Transaction;

use crate::domain::{Amounts, CounterReading, CounterSample, Usage};

use super::batch::NewRecord;
use super::{Statement, StatementMode, StoreError, statement};

static OPEN_SESSIONS: Statement = statement!("open_sessions", INT4_ARRAY, TEXT_ARRAY, TEXT_ARRAY);
static LOCK_SESSIONS: Statement = statement!("lock_sessions", INT4_ARRAY, TEXT_ARRAY, TEXT_ARRAY);
#[rustfmt::skip]
static SAVE_SESSIONS: Statement = statement!(
    "save_sessions",
    INT4_ARRAY, TEXT_ARRAY, TEXT_ARRAY, INT8_ARRAY, INT8_ARRAY, TIMESTAMPTZ_ARRAY, INT8_ARRAY, INT8_ARRAY,
);

/// Key of a session; its order is the order of locking.
type SessionKey<'r> = (i32, &'r str, &'r str);

#[derive(Default)]
struct Session {
    newest: Option<CounterReading>,
    upload_delta: i64,
    download_delta: i64,
}

/// Amounts of the counter records among `records`, in their order.
pub(super) async fn deltas(
    tx: &Transaction<'_>,
    mode: StatementMode,
    records: &[&NewRecord],
) -> Result<Vec<Amounts>, StoreError> {
    let samples: Vec<(SessionKey<'_>, DateTime<Utc>, &CounterSample)> =
        records.iter().filter_map(|new| sample_of(new)).collect();
    if samples.is_empty() {
        return Ok(Vec::new());
    }
    let mut sessions: BTreeMap<SessionKey<'_>, Session> =
        samples.iter().map(|(key, ..)| (*key, Session::default())).collect();
    lock(tx, mode, &mut sessions).await?;

    // Readings of one session are compared in the order in which they were taken, whatever order they came in.
    let mut by_time: Vec<usize> = (0..samples.len()).collect();
    by_time.sort_by_key(|index| samples[*index].1);
    let mut amounts = vec![Amounts::default(); samples.len()];
    for index in by_time {
        let (key, taken_at, sample) = &samples[index];
        let session = sessions.get_mut(key).expect("every sample's session was entered above");
        let reading = CounterReading {
            upload_bytes: sample.upload_bytes,
            download_bytes: sample.download_bytes,
            taken_at: *taken_at,
        };
        let (upload, download) = match sample.from {
            Some(place) => reading.advance_from(place, &mut session.newest),
            None => reading.advance(&mut session.newest),
        };
        session.upload_delta += upload;
        session.download_delta += download;
        amounts[index] = Amounts {
            upload_bytes: upload,
            download_bytes: download,
            total_bytes: upload + download,
            ..Amounts::default()
        };
    }
    save(tx, &sessions).await?;
    Ok(amounts)
}

fn sample_of(new: &NewRecord) -> Option<(SessionKey<'_>, DateTime<Utc>, &CounterSample)> {
    match &new.record.usage {
        Usage::Counters(sample) => {
            let key = (new.record.key.tenant.0, new.record.key.iccid.as_str(), sample.session_id.as_str());
            Some((key, new.record.period_end, sample))
        }
        Usage::Amounts(_) => None,
    }
}

async fn lock(
    tx: &Transaction<'_>,
    mode: StatementMode,
    sessions: &mut BTreeMap<SessionKey<'_>, Session>,
) -> Result<(), StoreError> {
    let (tenants, iccids, ids) = columns(sessions);
    OPEN_SESSIONS.execute(tx, mode, &[&tenants, &iccids, &ids]).await?;
    // Every session has a row now, and both sides are in the order of the key ("C" collation is the order of bytes).
    let rows = LOCK_SESSIONS.rows(tx, StatementMode::FOR_MANY, &[&tenants, &iccids, &ids]).await?;
    for (session, row) in sessions.values_mut().zip(&rows) {
        let upload: Option<i64> = row.get("upload_counter");
        let download: Option<i64> = row.get("download_counter");
        let taken_at: Option<DateTime<Utc>> = row.get("last_sample_at");
        if let (Some(upload_bytes), Some(download_bytes), Some(taken_at)) = (upload, download, taken_at) {
            session.newest = Some(CounterReading { upload_bytes, download_bytes, taken_at });
        }
    }
    Ok(())
}

async fn save(tx: &Transaction<'_>, sessions: &BTreeMap<SessionKey<'_>, Session>) -> Result<(), StoreError> {
    let (tenants, iccids, ids) = columns(sessions);
    let uploads: Vec<_> = sessions.values().map(|s| s.newest.map(|n| n.upload_bytes)).collect();
    let downloads: Vec<_> = sessions.values().map(|s| s.newest.map(|n| n.download_bytes)).collect();
    let taken: Vec<_> = sessions.values().map(|s| s.newest.map(|n| n.taken_at)).collect();
    let upload_deltas: Vec<_> = sessions.values().map(|s| s.upload_delta).collect();
    let download_deltas: Vec<_> = sessions.values().map(|s| s.download_delta).collect();
    SAVE_SESSIONS
        .execute(
            tx,
            StatementMode::FOR_MANY,
            &[&tenants, &iccids, &ids, &uploads, &downloads, &taken, &upload_deltas, &download_deltas],
        )
        .await?;
    Ok(())
}

fn columns<'r>(sessions: &BTreeMap<SessionKey<'r>, Session>) -> (Vec<i32>, Vec<&'r str>, Vec<&'r str>) {
    (
        sessions.keys().map(|k| k.0).collect(),
        sessions.keys().map(|k| k.1).collect(),
        sessions.keys().map(|k| k.2).collect(),
    )
}
