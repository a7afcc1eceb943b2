//! Writes down what the broker holds in memory, soon after it changed.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::store::StoreError;

/// What changed is written down this often.
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// At the end the database may be away: nobody waits for it longer.
const LAST_WRITE: Duration = Duration::from_secs(5);

/// What the broker has in memory and a table keeps.
pub(super) trait WriteBehind: Sync {
    /// For the log, in the plural.
    const WHAT: &'static str;

    /// Writes down all that changed.
    fn write(&self) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Writes down what changes, until `stop`, and then once more. The broker has ended by then.
pub(super) async fn keep<T: WriteBehind>(memory: T, stop: CancellationToken) {
    let what = T::WHAT;
    let mut fails = false;
    loop {
        let stopped = stop.run_until_cancelled(tokio::time::sleep(WRITE_EVERY)).await.is_none();
        if stopped {
            let last = tokio::time::timeout(LAST_WRITE, memory.write()).await;
            if !matches!(last, Ok(Ok(()))) {
                warn!("what changed of {what} in the last seconds is not stored: the database is away");
            }
            return;
        }
        match memory.write().await {
            Ok(()) => fails = false,
            Err(error) if !std::mem::replace(&mut fails, true) => {
                warn!(%error, "{what} wait for the database");
            }
            Err(_) => {}
        }
    }
}
