use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::feed::{Feed, Message};
use super::pacing::{Backoff, Pace};
use super::session::{Events, Requests, SessionError, Signal, Verdict};
use super::stats::{PublisherStats, add, subtract};
use super::window::Window;
use super::{PublisherError, PublisherOptions, Session};

/// Messages that nobody subscribes to are sent again so often: whoever stores them subscribes within moments, or is away for long.
const REPEAT_UNHEARD_AFTER: Duration = Duration::from_millis(200);
const DISCONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// One connection and everything that is outstanding on it, across reconnects.
pub(crate) struct Connection {
    index: u32,
    options: Arc<PublisherOptions>,
    feed: Feed,
    window: Window<InFlight>,
    /// Messages that nobody subscribed to, and when they are sent again. What is new waits behind them.
    unheard: VecDeque<(Instant, InFlight)>,
    stats: Arc<PublisherStats>,
    stop: CancellationToken,
    pace: Option<Pace>,
    backoff: Backoff,
    /// Set when no new message will be made: the time at which waiting ends.
    give_up_at: Option<Instant>,
    /// MQTT 5 messages that a PUBREC refused on this connection; rumqttc never frees their place.
    leaked: u16,
    leak_limit: u16,
    open: bool,
    /// A CONNACK has come on this or an earlier connection.
    was_open: bool,
}

struct InFlight {
    message: Message,
    submitted: Instant,
    /// PUBREC said that nobody subscribes to it.
    unheard: bool,
}

/// How a connection ended.
enum End {
    /// Everything is acknowledged, or waiting has ended.
    Done,
    Lost,
}

/// What the connection waited for.
enum Waited {
    Signal(Result<Signal, SessionError>),
    Drained,
    GivenUp,
}

impl Connection {
    pub(crate) fn new(
        index: u32,
        connections: u32,
        options: Arc<PublisherOptions>,
        feed: Feed,
        stats: Arc<PublisherStats>,
        stop: CancellationToken,
    ) -> Self {
        let pace = options.rate.map(|rate| {
            let seconds = f64::from(options.records_per_message) * f64::from(connections) / rate;
            Pace::new(seconds, f64::from(index) / f64::from(connections))
        });
        let mut rng = ChaCha8Rng::seed_from_u64(options.fleet.seed());
        rng.set_stream(u64::MAX - u64::from(index));
        let window = Window::new(options.window, Session::packet_ids(options.window));
        Self {
            index,
            options,
            feed,
            window,
            unheard: VecDeque::new(),
            stats,
            stop,
            pace,
            backoff: Backoff::new(rng),
            give_up_at: None,
            leaked: 0,
            leak_limit: 0,
            open: false,
            was_open: false,
        }
    }

    pub(crate) async fn run(mut self) -> Result<(), PublisherError> {
        let client_id = format!("sim-{}-{}", self.options.run_id, self.index);
        loop {
            let mut session = Session::new(&self.options, &client_id);
            let end = self.drive(&mut session).await;
            if std::mem::take(&mut self.open) {
                subtract(&self.stats.connected, 1);
            }
            match end? {
                End::Done => return Ok(()),
                End::Lost => {
                    for signal in session.remaining() {
                        // What it asks of the connection no longer matters: there is none.
                        let _ = self.on_signal(signal)?;
                    }
                    drop(session);
                    if self.wait_before_reconnect().await.is_break() {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Runs one connection from its CONNECT to its end.
    async fn drive(&mut self, session: &mut Session) -> Result<End, PublisherError> {
        let (requests, mut events) = session.split();
        if self.submit_again(&requests).is_err() {
            return Ok(End::Lost);
        }
        while !self.is_drained() {
            let signal = match self.wait(&requests, &mut events).await? {
                Waited::Signal(signal) => signal,
                Waited::Drained => break,
                Waited::GivenUp => return Ok(End::Done),
            };
            match signal {
                Ok(signal) => {
                    if self.on_signal(signal)?.is_break() {
                        return Ok(End::Lost);
                    }
                }
                Err(SessionError::Denied(reason)) => return Err(PublisherError::Denied(reason)),
                Err(SessionError::Lost(reason)) => {
                    tracing::debug!(connection = self.index, reason, "connection lost");
                    return Ok(End::Lost);
                }
            }
        }
        if self.open {
            requests.disconnect();
            let goodbye =
                async { while matches!(events.poll().await, Ok(signal) if signal != Signal::Closing) {} };
            let _ = tokio::time::timeout(DISCONNECT_TIMEOUT, goodbye).await;
        }
        Ok(End::Done)
    }

    /// A new connection begins with what the last one left unacknowledged.
    fn submit_again(&mut self, requests: &Requests<'_>) -> Result<(), SessionError> {
        (self.leaked, self.leak_limit) = (0, self.options.window);
        let mut resent = 0;
        for in_flight in self.window.restart(Session::packet_ids(self.options.window)) {
            let message = &in_flight.message;
            requests.publish(&message.topic, self.options.qos, &message.payload)?;
            resent += 1;
        }
        add(&self.stats.resent_messages, resent);
        Ok(())
    }

    /// Submits what is due until something happens on the connection. The poll is kept all the time, because it is
    /// not cancel-safe; only a connection that ends may drop it.
    async fn wait(
        &mut self,
        requests: &Requests<'_>,
        events: &mut Events<'_>,
    ) -> Result<Waited, PublisherError> {
        let stop = self.stop.clone();
        let poll = events.poll();
        tokio::pin!(poll);
        loop {
            tokio::select! {
                signal = &mut poll => return Ok(Waited::Signal(signal)),
                () = pause(self.pace.as_ref()), if self.may_submit() => {
                    if let Some(message) = self.next_message() {
                        let (topic, payload) = (message.topic.clone(), message.payload.clone());
                        self.note_sent(message)?;
                        if let Err(error) = requests.publish(&topic, self.options.qos, &payload) {
                            return Ok(Waited::Signal(Err(error)));
                        }
                    }
                }
                () = pause_until(self.repeat_at()), if self.may_repeat() => {
                    if let Err(error) = self.repeat_unheard(requests) {
                        return Ok(Waited::Signal(Err(error)));
                    }
                }
                () = stop.cancelled(), if self.give_up_at.is_none() => self.begin_drain(),
                () = pause_until(self.give_up_at), if self.give_up_at.is_some() => return Ok(Waited::GivenUp),
            }
            if self.is_drained() {
                return Ok(Waited::Drained);
            }
        }
    }

    fn is_drained(&self) -> bool {
        self.give_up_at.is_some() && self.is_settled()
    }

    /// Nothing is outstanding.
    fn is_settled(&self) -> bool {
        self.window.is_empty() && self.unheard.is_empty()
    }

    fn may_submit(&self) -> bool {
        self.open && self.give_up_at.is_none() && self.window.has_room() && self.unheard.is_empty()
    }

    fn may_repeat(&self) -> bool {
        self.open && !self.unheard.is_empty() && self.window.has_room()
    }

    fn repeat_at(&self) -> Option<Instant> {
        self.unheard.front().map(|(at, _)| *at)
    }

    /// Submits the first message that nobody subscribed to once more.
    fn repeat_unheard(&mut self, requests: &Requests<'_>) -> Result<(), SessionError> {
        let Some((_, in_flight)) = self.unheard.pop_front() else { return Ok(()) };
        let (topic, payload) = (in_flight.message.topic.clone(), in_flight.message.payload.clone());
        self.window.submit(in_flight);
        add(&self.stats.resent_messages, 1);
        requests.publish(&topic, self.options.qos, &payload)
    }

    fn next_message(&mut self) -> Option<Message> {
        let message = self.feed.next();
        match (&message, &mut self.pace) {
            (None, _) => self.begin_drain(),
            (Some(_), Some(pace)) => pace.advance(),
            (Some(_), None) => {}
        }
        message
    }

    fn begin_drain(&mut self) {
        self.give_up_at = Some(Instant::now() + self.options.drain_timeout);
    }

    fn note_sent(&mut self, message: Message) -> Result<(), PublisherError> {
        if let Some(ledger) = &self.options.ledger {
            // A short append in an async task: it must have happened before the PUBLISH, and nothing else waits here.
            ledger.sent(&message.topic, &message.records)?;
        }
        let records = message.records.len() as u64;
        add(&self.stats.sent, records);
        add(&self.stats.in_flight, records);
        self.window.submit(InFlight { message, submitted: Instant::now(), unheard: false });
        Ok(())
    }

    /// Takes in what happened; `Break` when the connection has to be dropped.
    fn on_signal(&mut self, signal: Signal) -> Result<ControlFlow<()>, PublisherError> {
        match signal {
            Signal::Connected { receive_maximum } => {
                if !std::mem::replace(&mut self.open, true) {
                    add(&self.stats.connected, 1);
                }
                if std::mem::replace(&mut self.was_open, true) {
                    add(&self.stats.reconnects, 1);
                }
                self.backoff.reset();
                if let Some(maximum) = receive_maximum {
                    self.window.narrow(maximum);
                    self.leak_limit = self.leak_limit.min(maximum.div_ceil(2));
                }
            }
            Signal::Written(0) => {
                if let Some(in_flight) = self.window.written_without_ack() {
                    let records = in_flight.message.records.len() as u64;
                    add(&self.stats.unconfirmed, records);
                    subtract(&self.stats.in_flight, records);
                    return Ok(cut_if(in_flight.message.cut));
                }
            }
            Signal::Written(packet_id) => {
                let cut = |in_flight: &mut InFlight| {
                    in_flight.unheard = false;
                    // Taken, so that the connection is cut once and not again after each resend.
                    std::mem::take(&mut in_flight.message.cut)
                };
                return Ok(cut_if(self.window.written(packet_id).is_some_and(cut)));
            }
            Signal::Unheard { packet_id } => {
                if let Some(in_flight) = self.window.get_mut(packet_id) {
                    in_flight.unheard = true;
                }
            }
            Signal::Finished { packet_id, verdict } => {
                if let Some(in_flight) = self.window.finished(packet_id) {
                    let unheard = in_flight.unheard || verdict == Verdict::Unheard;
                    add(&self.stats.unheard_messages, u64::from(unheard));
                    if unheard && self.options.repeat_unheard {
                        let again = InFlight { unheard: false, ..in_flight };
                        self.unheard.push_back((Instant::now() + REPEAT_UNHEARD_AFTER, again));
                    } else {
                        self.note_finished(&in_flight, &verdict)?;
                    }
                }
                if self.options.qos == 2 && verdict != Verdict::Accepted {
                    self.leaked += 1;
                    return Ok(cut_if(self.leaked >= self.leak_limit));
                }
            }
            Signal::Closing | Signal::Other => {}
        }
        Ok(ControlFlow::Continue(()))
    }

    fn note_finished(&self, in_flight: &InFlight, verdict: &Verdict) -> Result<(), PublisherError> {
        let records = &in_flight.message.records;
        let count = records.len() as u64;
        if let Some(ledger) = &self.options.ledger {
            match verdict {
                Verdict::Accepted | Verdict::Unheard => ledger.acked(records, None)?,
                Verdict::Parked(reason) => ledger.acked(records, Some(reason))?,
                Verdict::Refused(reason) => ledger.refused(records, reason)?,
            }
        }
        subtract(&self.stats.in_flight, count);
        match verdict {
            Verdict::Accepted | Verdict::Unheard => add(&self.stats.acked, count),
            Verdict::Parked(_) => {
                add(&self.stats.acked, count);
                add(&self.stats.parked, count);
            }
            Verdict::Refused(_) => add(&self.stats.refused, count),
        }
        self.stats.record_latency(in_flight.submitted.elapsed());
        Ok(())
    }

    /// Waits with a growing, jittered delay; `Break` when there is nothing left to reconnect for.
    async fn wait_before_reconnect(&mut self) -> ControlFlow<()> {
        let until = Instant::now() + self.backoff.next();
        loop {
            if self.give_up_at.is_some_and(|at| self.is_settled() || at <= Instant::now()) {
                return ControlFlow::Break(());
            }
            tokio::select! {
                () = tokio::time::sleep_until(until) => return ControlFlow::Continue(()),
                () = self.stop.cancelled(), if self.give_up_at.is_none() => self.begin_drain(),
                () = pause_until(self.give_up_at), if self.give_up_at.is_some() => {}
            }
        }
    }
}

fn cut_if(cut: bool) -> ControlFlow<()> {
    if cut { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

async fn pause(pace: Option<&Pace>) {
    if let Some(pace) = pace {
        tokio::time::sleep_until(pace.due()).await;
    }
}

async fn pause_until(at: Option<Instant>) {
    if let Some(at) = at {
        tokio::time::sleep_until(at).await;
    }
}
