//! First signal: soft stop. Second signal: the process ends at once.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::warn;

/// SIGINT and SIGTERM.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// From here on the signals no longer end the process by themselves.
    ///
    /// # Errors
    /// When the operating system refuses a handler.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// The next signal. Cancel-safe.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Ends the process at the next signal, for those who do not want to wait for the drain. Nothing is lost by it: what was
/// not acknowledged is sent again.
pub fn exit_on_next_signal(mut signals: Signals) {
    tokio::spawn(async move {
        signals.next().await;
        warn!("second signal: ending at once");
        // 128 + SIGINT, as a shell reports it.
        std::process::exit(130);
    });
}
