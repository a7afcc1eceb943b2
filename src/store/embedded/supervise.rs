//! Starting the server again when it ended although nobody asked it to.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::EmbeddedPostgres;
use super::error::EmbeddedError;

/// Asking for a child's exit is one system call; a tenth of a second is short beside the recovery that follows.
const WATCH: Duration = Duration::from_millis(100);
const LOG_CHECK: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(10);

impl EmbeddedPostgres {
    /// Watches the server until `stop` is cancelled or [`stop`](Self::stop) is called, and starts it again when it
    /// ends by itself. Leaves it running on return.
    pub async fn supervise(self: Arc<Self>, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.watch() => {}
        }
    }

    async fn watch(&self) {
        let mut log_checked = Instant::now();
        loop {
            sleep(WATCH).await;
            if self.state().stopping {
                return;
            }
            if let Some(how) = self.ended() {
                let pid = self.pid();
                tracing::error!(pid, how, "PostgreSQL ended unexpectedly: starting it again");
                if !self.restart().await {
                    return;
                }
            }
            if log_checked.elapsed() > LOG_CHECK {
                log_checked = Instant::now();
                if let Err(error) = self.log.rotate() {
                    tracing::warn!(%error, "cannot shorten the PostgreSQL log");
                }
            }
        }
    }

    /// False when the server is being stopped instead.
    async fn restart(&self) -> bool {
        let mut pause = FIRST_PAUSE;
        let mut told = String::new();
        loop {
            let failure = match self.launch().await {
                Ok(()) => return true,
                Err(EmbeddedError::Stopping) => return false,
                Err(failure) => failure.to_string(),
            };
            if failure != told {
                tracing::error!(error = failure, "PostgreSQL does not start again: trying until it does");
                told = failure;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }
}
