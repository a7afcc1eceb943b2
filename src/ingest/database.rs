use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::store::StoreError;

/// While an outage lasts it is mentioned this often.
const REMIND_EVERY: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug)]
enum State {
    Works,
    Fails { since: Instant, mentioned: Instant },
}

/// Whether batches can be committed, as the writers see it. Each outage is logged when it begins, now and then while it
/// lasts, and when it is over.
#[derive(Clone, Debug)]
pub struct DatabaseState(Arc<watch::Sender<State>>);

impl Default for DatabaseState {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(State::Works)))
    }
}

impl DatabaseState {
    pub fn is_working(&self) -> bool {
        matches!(*self.0.borrow(), State::Works)
    }

    pub(super) fn works(&self) {
        self.0.send_if_modified(|state| match *state {
            State::Works => false,
            State::Fails { since, .. } => {
                info!(outage_seconds = since.elapsed().as_secs_f64(), "database works again");
                *state = State::Works;
                true
            }
        });
    }

    pub(super) fn fails(&self, error: &StoreError) {
        self.0.send_if_modified(|state| {
            let now = Instant::now();
            match state {
                State::Works => {
                    warn!(%error, "database does not take batches; nothing is acknowledged until it does");
                    *state = State::Fails { since: now, mentioned: now };
                    true
                }
                State::Fails { since, mentioned } => {
                    if now.duration_since(*mentioned) >= REMIND_EVERY {
                        warn!(%error, outage_seconds = since.elapsed().as_secs_f64(), "database still does not take batches");
                        *mentioned = now;
                    }
                    false
                }
            }
        });
    }
}
