//! How the program ends: at the first signal softly, at the second at once, and when a part of it has a defect.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, warn};

use crate::service_manager;

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

/// SIGHUP: files are to be read again. Asking for the next one says that this was done for the one before.
pub struct Hangups {
    signal: Signal,
    reloading: bool,
}

impl Hangups {
    /// From here on the signal no longer ends the process.
    ///
    /// # Errors
    /// When the operating system refuses a handler.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { signal: signal(SignalKind::hangup())?, reloading: false })
    }

    /// The next signal. Cancel-safe.
    pub async fn next(&mut self) {
        if std::mem::take(&mut self.reloading) {
            service_manager::reloaded();
        }
        self.signal.recv().await;
        service_manager::reloading();
        self.reloading = true;
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

/// Runs a task without which the program is not what it claims to be. When it panics the process ends with 70: the service
/// manager starts it afresh, and what was not acknowledged is sent again.
pub(crate) async fn vital(name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
    if let Err(ended) = tokio::spawn(task).await
        && ended.is_panic()
    {
        error!(task = name, "a defect ended this task, and so the program");
        std::process::exit(70);
    }
}

/// A defect is told in one line, in the log.
pub(crate) fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let payload = panic.payload();
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let message = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message");
        error!(place, panic = message, "defect: please report it");
    }));
}
