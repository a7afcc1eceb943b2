use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::Hub;

/// Whether the broker moves: it accepts, keeps its house, and what that locks is free. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Pulse(watch::Receiver<Instant>);

impl Pulse {
    pub(super) fn of(hub: &Hub) -> Self {
        Self(hub.pulse.subscribe())
    }

    /// Time since the last beat, of which there is one a second.
    pub fn age(&self) -> Duration {
        self.0.borrow().elapsed()
    }
}
