//! Which clients are read and when. Nothing that a client has sent is dropped: it waits in its socket.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use prometheus_client::metrics::gauge::Gauge;

use super::connection::Connection;
use super::ending::Ending;
use super::traffic::Throttled;
use super::transport::READ_BYTES;

/// Counts a connection that is not read, for as long as it exists.
pub(super) struct Paused {
    gauge: Gauge,
    since: Instant,
}

impl Paused {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self { gauge: gauge.clone(), since: Instant::now() }
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

/// Why a connection is not read now.
#[derive(Default)]
pub(super) struct Pauses {
    /// Too much of its waits for the database.
    behind: Option<Paused>,
    /// A subscriber does not keep up with it.
    held: Option<Paused>,
    /// It sends too fast.
    throttled: Option<Throttled>,
    /// There was more to read than one turn handles.
    pub(super) unhandled: bool,
    /// Others had their turn since the last read.
    pub(super) others_first: bool,
    /// Packets of this turn, and the messages for others that came of them.
    pub(super) handled: usize,
}

impl Pauses {
    pub(super) fn is_none(&self) -> bool {
        self.behind.is_none() && self.held.is_none() && self.throttled.is_none()
    }
}

impl Connection {
    /// Reads what is there and handles it.
    pub(super) async fn read(&mut self) -> Result<(), Ending> {
        match self.transport.try_read(&mut self.buffer)? {
            Some(0) => Err(Ending::ClosedByPeer),
            Some(read) => {
                self.last_read = Instant::now();
                self.pauses.others_first = false;
                self.handle_buffered().await?;
                // There is more where that came from.
                self.pauses.unhandled |= read >= READ_BYTES;
                Ok(())
            }
            None => {
                if self.buffer.is_empty() {
                    self.buffer = BytesMut::new();
                }
                Ok(())
            }
        }
    }

    /// The keep alive is over. What came while this task was waiting for the client to read counts all the same.
    pub(super) async fn read_at_last(&mut self) -> Result<(), Ending> {
        let before = self.last_read;
        self.read().await?;
        if self.last_read == before { Err(Ending::KeepAlive) } else { Ok(()) }
    }

    /// The subscriber that held this client up keeps up again, or is waited for no longer.
    pub(super) async fn go_on(&mut self) -> Result<(), Ending> {
        self.held_by = None;
        if let Some(held) = &mut self.pauses.held {
            let now = Instant::now();
            // All whom one subscriber held up go on together: each with a burst would be too much at once.
            self.traffic.stood_still(now - std::mem::replace(&mut held.since, now));
        }
        self.handle_buffered().await
    }

    /// Too much of this client's, or of everybody's, is waiting for the database, or a subscriber does not keep up with it: no
    /// more is read from it.
    pub(super) fn is_paused(&self) -> bool {
        self.is_behind() || self.is_held()
    }

    fn is_behind(&self) -> bool {
        let config = &self.hub.config;
        let own = self.session.window.charged_bytes().max(self.feeder.waiting_bytes());
        let all = self.feeder.total_waiting_bytes();
        own > config.max_unacked_bytes_per_connection
            || (all > config.max_backlog_bytes && !self.feeder.is_empty())
    }

    /// A client for which others wait is read all the same: what it acknowledges makes room.
    fn is_held(&self) -> bool {
        self.held_by.as_ref().is_some_and(|outbox| outbox.holds()) && !self.session.deliveries.holds()
    }

    /// Whether the next packet may be handled.
    pub(super) fn may_handle(&self) -> bool {
        !self.is_paused() && self.traffic.resumes_at().is_none()
    }

    /// Takes down whether it is read now. Returns when it may go on, if it is stopped for sending too fast.
    pub(super) fn note_pauses(&mut self) -> Option<Instant> {
        let (behind, held, metrics) = (self.is_behind(), self.is_held(), &self.hub.metrics);
        if behind != self.pauses.behind.is_some() {
            self.pauses.behind = behind.then(|| Paused::new(&metrics.paused_readers));
            // It could not be heard while it was not read.
            self.last_read = Instant::now();
        }
        if held != self.pauses.held.is_some() {
            self.pauses.held = held.then(|| Paused::new(&metrics.held_readers));
            self.last_read = Instant::now();
        }
        let resumes_at = self.traffic.resumes_at();
        if resumes_at.is_some() != self.pauses.throttled.is_some() {
            self.pauses.throttled = resumes_at.map(|_| Throttled::new(metrics));
            self.last_read = Instant::now();
        }
        resumes_at
    }

    pub(super) fn keep_alive_deadline(&self) -> Option<Instant> {
        let seconds = self.client.keep_alive_seconds;
        // One and a half times the keep alive (MQTT 5, 3.1.2.10).
        (seconds > 0).then(|| self.last_read + Duration::from_millis(u64::from(seconds) * 1500))
    }
}
