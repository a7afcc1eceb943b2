//! How long tests wait for what must happen.

use std::time::Duration;

/// How long a test waits for something that is bound to happen. Long, because only a failure ever waits that long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `check` gives a value; `what` names it when it never does.
pub(crate) async fn eventually<T>(what: &str, check: impl AsyncFnMut() -> Option<T>) -> T {
    eventually_within(PATIENCE, what, check).await
}

/// The same for what may take longer.
pub(crate) async fn eventually_within<T>(
    patience: Duration,
    what: &str,
    mut check: impl AsyncFnMut() -> Option<T>,
) -> T {
    let deadline = tokio::time::Instant::now() + patience;
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(tokio::time::Instant::now() < deadline, "waited {patience:?} in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
