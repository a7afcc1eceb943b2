//! What metrics tell of the database and the disk, looked at now and then.

use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;
use tracing::warn;

use crate::domain::Clock;
use crate::metrics::Metrics;
use crate::store::{Store, StoreError};

/// More parked records are not counted: nobody mends them one by one.
const PARKED_AT_MOST: i64 = 1_000_000;

/// Where the private PostgreSQL keeps its data, when there is one.
pub(in crate::app) type DataDirectory = Option<PathBuf>;

/// What could not be looked at stays as it was.
pub(super) async fn look(store: &Store, clock: Clock, directory: &DataDirectory, metrics: &Metrics) {
    super::duty(store, "look at partitions and parked records", ask(store, clock, metrics)).await;
    if let Some(directory) = directory {
        look_at_disk(directory.clone(), metrics).await;
    }
}

async fn ask(store: &Store, clock: Clock, metrics: &Metrics) -> Result<(), StoreError> {
    let (now, end) = (clock.now(), store.partitions_end().await?);
    metrics.upkeep.partitions(end, now);
    metrics.upkeep.parked(&store.parked_by_reason(PARKED_AT_MOST).await?);
    Ok(())
}

async fn look_at_disk(directory: PathBuf, metrics: &Metrics) {
    // A disk that hangs must not hold up the runtime.
    match tokio::task::spawn_blocking(move || room(&directory)).await {
        Ok(Ok((free, size))) => metrics.upkeep.disk(free, size),
        Ok(Err(error)) => warn!(%error, "cannot see how much room the data directory has"),
        Err(error) => warn!(%error, "the look at the data directory did not end"),
    }
}

/// Bytes that are free for this account, and the size of the file system.
fn room(directory: &Path) -> nix::Result<(u64, u64)> {
    let found = statvfs(directory)?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.fragment_size());
    Ok((bytes(found.blocks_available()), bytes(found.blocks())))
}
