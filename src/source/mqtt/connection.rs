//! One connection to a broker, from CONNECT to its end.
//!
//! Everything that belongs to a connection dies with it: the event loop, the window, and the channel through which commits
//! are told. That channel is the epoch of an acknowledgement: one of an earlier connection finds it closed, and can reach no
//! later one, where its packet id may belong to another message.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::ingest::feeder::Feeder;
use crate::ingest::queue::{Acknowledge, IngestQueue, Message, QueueClosed, Sender};

use super::window::Window;
use super::wire::{ConnectOptions, PendingAck, Requests, SourceEvent, Wire, WireError};
use super::{MqttSource, printable};

/// Packet ids that exist: no broker that minds them can have more unacknowledged. mosquitto without a limit gives them out again.
const MAX_UNACKNOWLEDGED: usize = 65_535;

/// Acknowledgements that may wait behind what the broker sends: rumqttc reads up to ten packets for each one that it writes while both are
/// possible. Beyond it the connection is made anew, and what was not acknowledged is delivered again.
const MAX_UNSENT: usize = 1_000_000;

/// How a connection ended.
pub(super) struct Ended {
    /// `None` when it was stopped in order.
    pub(super) cause: Option<WireError>,
    /// When the subscription was granted.
    pub(super) subscribed_at: Option<Instant>,
}

/// See the module.
pub(super) struct Connection<'s> {
    source: &'s MqttSource,
    sender: Arc<Sender>,
    requests: Requests,
    window: Window,
    feeder: Feeder,
    /// Numbers of committed messages; as many at most as the window has slots, because each is told once.
    commits: UnboundedSender<u64>,
    connected: bool,
    subscribed_at: Option<Instant>,
    /// When something was heard, or reading went on after a pause.
    heard_at: Instant,
    /// When it subscribed, or reading went on after a pause, until it is granted.
    asked_at: Option<Instant>,
    stopping: bool,
    /// DISCONNECT is on its way.
    leaving: bool,
    ignored_any: bool,
}

/// Connects, subscribes and hands messages over until the connection ends, or until `soft` and everything that was received
/// is acknowledged.
pub(super) async fn run(source: &MqttSource, queue: &IngestQueue, soft: &CancellationToken) -> Ended {
    let (wire, requests) = Wire::new(&ConnectOptions { options: &source.options, tls: source.tls.as_ref() });
    let (commits, committed) = mpsc::unbounded_channel();
    let mut connection = Connection {
        source,
        sender: source.sender.clone(),
        requests,
        window: Window::default(),
        feeder: Feeder::new(Arc::new(queue.clone()), Arc::default()),
        commits,
        connected: false,
        subscribed_at: None,
        heard_at: Instant::now(),
        asked_at: None,
        stopping: false,
        leaving: false,
        ignored_any: false,
    };
    let cause = connection.go_on(wire, committed, soft).await.err();
    Ended { cause, subscribed_at: connection.subscribed_at }
}

impl Connection<'_> {
    async fn go_on(
        &mut self,
        mut wire: Wire,
        mut committed: mpsc::UnboundedReceiver<u64>,
        soft: &CancellationToken,
    ) -> Result<(), WireError> {
        loop {
            let keep_alive = wire.keep_alive();
            let event = {
                // One poll is carried to its end: see `Wire::poll`.
                let poll = wire.poll();
                tokio::pin!(poll);
                let mut read = true;
                loop {
                    if self.stopping && self.leave() {
                        return Ok(());
                    }
                    let may_read = self.has_room() && self.may_go_on();
                    if may_read && !read {
                        self.resumed();
                    }
                    read = may_read;
                    let patience = self.patience(keep_alive);
                    tokio::select! {
                        () = soft.cancelled(), if !self.stopping => self.stopping = true,
                        event = &mut poll, if may_read => break event?,
                        fed = self.feeder.drain(), if !self.feeder.is_empty() => {
                            // The pipeline ends before its sources only at the hard stop.
                            if let Err(QueueClosed) = fed { return Ok(()) }
                        }
                        Some(number) = committed.recv() => {
                            self.window.committed(number);
                            while let Ok(number) = committed.try_recv() {
                                self.window.committed(number);
                            }
                        }
                        () = sleep_until(patience), if may_read => {
                            return Err(self.silence());
                        }
                    }
                    self.acknowledge();
                }
            };
            self.heard_at = Instant::now();
            if matches!(event, SourceEvent::Disconnected) {
                return Ok(());
            }
            self.handle(event)?;
            self.acknowledge();
            if self.window.len() > MAX_UNSENT {
                return Err(WireError::Unheard);
            }
        }
    }

    /// Whether more may be read. What was read at once may exceed the bound by a few packets.
    fn has_room(&self) -> bool {
        let options = &self.source.options;
        self.feeder.waiting_messages() < options.in_flight.into()
            && self.feeder.waiting_bytes() < options.backlog_max_bytes
    }

    /// Whether the connection may be polled as far as acknowledgements are concerned. Those that are due leave only while it is.
    fn may_go_on(&self) -> bool {
        self.window.len() < MAX_UNACKNOWLEDGED || self.window.due().is_some()
    }

    /// Until when something has to be heard: CONNACK, then SUBACK, then at least a PINGRESP with each keep alive. rumqttc has
    /// limits of its own, but none for a write that gets stuck and none for SUBACK.
    fn patience(&self, keep_alive: Duration) -> Instant {
        let connect = self.source.options.connect_timeout;
        match self.asked_at {
            Some(asked) => asked + 2 * connect,
            None if !self.connected => self.heard_at + 2 * connect,
            None => self.heard_at + 2 * keep_alive + connect,
        }
    }

    fn silence(&self) -> WireError {
        match self.asked_at {
            Some(_) => WireError::NotGranted("no answer in time".into()),
            None if !self.connected => WireError::Timeout,
            None => WireError::Silent,
        }
    }

    /// It was not the broker that was silent.
    fn resumed(&mut self) {
        self.heard_at = Instant::now();
        self.asked_at = self.asked_at.map(|_| self.heard_at);
    }

    fn handle(&mut self, event: SourceEvent) -> Result<(), WireError> {
        match event {
            SourceEvent::Connected { session_present } => {
                self.connected = true;
                if !session_present && self.source.was_subscribed() {
                    self.source.state.session_lost();
                    warn!(
                        source = self.source.state.name(),
                        "the broker does not know the session any more; what waited in it is gone from there"
                    );
                }
                debug!(source = self.source.state.name(), session_present, "connected");
                // With a session that is there too: it may have been made with other topics, or lack them.
                self.requests.subscribe(&self.source.filters);
                self.asked_at = Some(Instant::now());
            }
            SourceEvent::Subscribed(grants) => self.subscribed(&grants)?,
            SourceEvent::Message { topic, payload, answer } => self.receive(topic, payload, answer),
            SourceEvent::Disconnected | SourceEvent::Other => {}
        }
        Ok(())
    }

    fn subscribed(&mut self, grants: &[Result<(), String>]) -> Result<(), WireError> {
        let filters = &self.source.filters;
        for (n, filter) in filters.iter().enumerate() {
            if let Err(said) = grants.get(n).unwrap_or(&Err("no answer".into())) {
                return Err(WireError::NotGranted(format!("{filter}: {said}")));
            }
        }
        self.asked_at = None;
        if self.subscribed_at.is_none() {
            self.subscribed_at = Some(Instant::now());
            self.source.has_subscribed();
            info!(source = self.source.state.name(), filters = filters.join(" "), "subscribed");
        }
        Ok(())
    }

    fn receive(&mut self, topic: String, payload: bytes::Bytes, answer: Option<PendingAck>) {
        if self.stopping {
            // The broker delivers it again: it is not acknowledged.
            return;
        }
        let received_at = self.source.state.message();
        let number = answer.map(|answer| self.window.push(answer, Instant::now()));
        let options = &self.source.options;
        let usage = options.topics.classify(&topic);
        let ours = usage.filter(|usage| usage.tenant.is_none_or(|tenant| tenant == options.tenant_name));
        let Some(usage) = ours else { return self.ignore(&topic, number) };
        let acknowledge = number.map(|number| -> Acknowledge {
            let commits = self.commits.clone();
            // Fails when the connection is gone, and the message with it: the broker delivers it again.
            Box::new(move |_| {
                commits.send(number).ok();
            })
        });
        let topic_iccid = usage.iccid.map(str::to_owned);
        let sender = self.sender.clone();
        self.feeder.push(Message { sender, topic, topic_iccid, payload, received_at, acknowledge });
    }

    /// The session holds a subscription that the configuration does not have any more.
    fn ignore(&mut self, topic: &str, number: Option<u64>) {
        self.source.state.ignored();
        if !std::mem::replace(&mut self.ignored_any, true) {
            warn!(
                source = self.source.state.name(),
                topic = printable(topic),
                "the broker delivers what no topic of this source names; it is not stored"
            );
        }
        if let Some(number) = number {
            self.window.committed(number);
        }
    }

    /// Sends the answers that are due.
    fn acknowledge(&mut self) {
        while let Some(answer) = self.window.due() {
            if !self.requests.answer(answer) {
                break;
            }
            self.window.released();
            self.source.state.acknowledged();
        }
        self.source.state.window(self.window.len(), self.window.oldest());
    }

    /// While stopping: leaves when everything that was received is acknowledged. True when there is nothing to leave.
    fn leave(&mut self) -> bool {
        if self.feeder.is_empty() && self.window.is_empty() && !self.leaving {
            self.requests.disconnect();
            self.leaving = true;
        }
        !self.connected
    }
}
