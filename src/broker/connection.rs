//! One client's connection, from CONNECT to its end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::ingest::feeder::Feeder;

use super::Hub;
use super::admission::Place;
use super::codec::{self, Version};
use super::connect::{self, Client};
use super::deliveries::{DeliveryLimits, OutboundAliases};
use super::ending::{Ending, Violation};
use super::listener::send_will;
use super::outbox::Outbox;
use super::reading::Pauses;
use super::registry::{Leave, Ticket};
use super::session::Session;
use super::shared::next_shared;
use super::traffic::Traffic;
use super::transport::{FAREWELL, ListenerProtocol, READ_BYTES, Transport};

/// How the program ends.
#[derive(Clone)]
pub(super) struct Stops {
    /// Nothing more is read; what was read is answered.
    pub(super) soft: CancellationToken,
    /// Everything ends at once.
    pub(super) hard: CancellationToken,
}

/// A client's connection.
pub(super) struct Connection {
    pub(super) hub: Arc<Hub>,
    pub(super) client: Client,
    pub(super) session: Session,
    pub(super) feeder: Feeder,
    pub(super) limits: DeliveryLimits,
    /// Read and not decoded.
    pub(super) buffer: BytesMut,
    /// Encoded and not written.
    pub(super) out: BytesMut,
    /// Topic aliases that the client set.
    pub(super) aliases: HashMap<u16, Bytes>,
    pub(super) outbound_aliases: OutboundAliases,
    pub(super) transport: Transport,
    stops: Stops,
    pub(super) last_read: Instant,
    pub(super) pauses: Pauses,
    pub(super) traffic: Traffic,
    /// A client that does not keep up with what this one publishes.
    pub(super) held_by: Option<Arc<Outbox>>,
    stopping: bool,
    /// A refusal was logged; the others are only counted.
    pub(super) refusal_logged: bool,
}

/// Serves one socket until it ends.
pub(super) async fn serve(
    hub: Arc<Hub>,
    stream: TcpStream,
    protocol: ListenerProtocol,
    place: Place,
    stops: Stops,
) {
    let mut buffer = BytesMut::with_capacity(1024);
    let connecting = tokio::select! {
        // Boxed like all that lasts a moment only, so that an idle connection does not keep the room for it.
        connected = Box::pin(connect::connect(&hub, stream, protocol, place, &mut buffer)) => connected,
        () = stops.soft.cancelled() => return,
        () = stops.hard.cancelled() => return,
    };
    let (transport, client, held) = match connecting {
        Ok(connected) => connected,
        Err(refused) => {
            hub.metrics.connection(refused.label());
            debug!(reason = %refused, "MQTT connection refused");
            return;
        }
    };
    let (ticket, left) = tokio::select! {
        claimed = hub.registry.claim(client.key(), &client.identity.login, client.checks) => claimed,
        () = stops.hard.cancelled() => return,
    };
    hub.metrics.connection("accepted");
    let (mut session, present) = match left {
        // The client is back: a will that waited is not sent.
        Some(left) if !client.clean_start && left.session.is_for(&client) => (left.session, true),
        Some(left) => {
            // A session of another login, or with what this one may not hear, ends too.
            // The will does not outlive the session (MQTT 5, 3.1.3.2.2).
            left.will.into_iter().for_each(|will| send_will(&hub, will, &stops.hard));
            (Session::of(&client), false)
        }
        None => (Session::of(&client), false),
    };
    session.persist(&hub, &client);
    let mut connection = Box::new(Connection::new(hub, client, session, transport, buffer, stops));
    connect::put_connack(&connection.hub, &connection.client, present, &mut connection.out);
    let ending = connection.run(&ticket, present).await;
    if let Some(offence) = ending.offence() {
        connection.hub.metrics.offence(offence);
        held.offend(Instant::now());
    }
    Box::pin(connection.leave(ticket, ending)).await;
}

impl Connection {
    fn new(
        hub: Arc<Hub>,
        client: Client,
        session: Session,
        transport: Transport,
        buffer: BytesMut,
        stops: Stops,
    ) -> Self {
        let traffic = hub.traffic.take_up(&client.key());
        let config = &hub.config;
        let limits = DeliveryLimits {
            max_in_flight: client.receive_maximum.min(config.max_outbound_in_flight),
            max_packet: client.max_packet,
        };
        Self {
            feeder: Feeder::new(hub.queue.clone(), hub.backlog.clone()),
            outbound_aliases: OutboundAliases::new(client.topic_alias_maximum),
            limits,
            session,
            buffer,
            out: BytesMut::new(),
            aliases: HashMap::new(),
            transport,
            stops,
            last_read: Instant::now(),
            pauses: Pauses::default(),
            traffic,
            held_by: None,
            stopping: false,
            refusal_logged: false,
            client,
            hub,
        }
    }

    /// Runs until something ends the connection.
    async fn run(&mut self, ticket: &Ticket, resumed: bool) -> Ending {
        if resumed {
            self.session.set_connected(true);
            let (deliveries, mut outlet) = self.outlet();
            deliveries.resume(&mut outlet, Instant::now());
        }
        self.pump();
        // CONNECT may have been followed by more in the same read.
        let mut result = self.handle_buffered().await;
        while result.is_ok() {
            result = self.turn(ticket).await;
        }
        result.err().unwrap_or(Ending::Stopped)
    }

    /// Waits for one thing to happen and deals with it.
    async fn turn(&mut self, ticket: &Ticket) -> Result<(), Ending> {
        self.flush(ticket).await?;
        if self.stopping && self.session.window.is_empty() && self.feeder.is_empty() {
            return Err(Ending::ShuttingDown);
        }
        if std::mem::take(&mut self.pauses.unhandled) {
            // What is left of a large read waits until others had their turn.
            tokio::task::yield_now().await;
            return self.handle_buffered().await;
        }
        let resumes_at = self.note_pauses();
        let signal = self.session.window.signal();
        let reading = self.pauses.is_none() && !self.stopping;
        let keep_alive = self.keep_alive_deadline();
        let more = self.session.deliveries.has_more() || self.may_send_retained();
        let takes_turns =
            !self.session.shared.is_empty() && self.session.deliveries.takes_turns(&self.limits);
        tokio::select! {
            () = self.stops.hard.cancelled() => Err(Ending::Stopped),
            ending = ticket.dismissed() => Err(ending),
            () = self.stops.soft.cancelled(), if !self.stopping => {
                self.stopping = true;
                Ok(())
            }
            () = signal.notified() => {
                self.answer().await?;
                self.handle_buffered().await
            }
            drained = self.feeder.drain(), if !self.feeder.is_empty() => {
                drained.map_err(|_| Ending::PipelineStopped)?;
                self.handle_buffered().await
            }
            ready = self.transport.readable(), if reading => {
                ready?;
                self.read().await
            }
            () = ready(self.session.deliveries.outbox()) => {
                self.pump();
                // So much may wait for this client by now that it must be read, whoever it is waiting for.
                if self.held_by.is_some() { self.handle_buffered().await } else { Ok(()) }
            }
            delivery = next_shared(&self.session.shared), if takes_turns => {
                self.deliver_shared(delivery);
                Ok(())
            }
            () = std::future::ready(()), if more => {
                self.pump();
                Ok(())
            }
            () = relaxed(self.held_by.as_ref()), if self.held_by.is_some() => self.go_on().await,
            () = sleep_until(keep_alive), if reading => self.read_at_last().await,
            () = sleep_until(resumes_at), if resumes_at.is_some() => {
                self.traffic.resume();
                self.handle_buffered().await
            }
        }
    }

    /// Writes everything that is encoded. A take-over, revocation or stop does not wait for a client that does not read.
    async fn flush(&mut self, ticket: &Ticket) -> Result<(), Ending> {
        let patience = Duration::from_secs(self.hub.config.write_stall_timeout_seconds);
        while !self.out.is_empty() {
            tokio::select! {
                written = self.transport.write(&mut self.out) => {
                    if written? == 0 {
                        return Err(Ending::ClosedByPeer);
                    }
                }
                ending = ticket.dismissed() => return Err(ending),
                () = self.stops.hard.cancelled() => return Err(Ending::Stopped),
                () = tokio::time::sleep(patience) => return Err(Ending::WriteStalled),
            }
        }
        if self.out.capacity() > READ_BYTES {
            self.out = BytesMut::new();
        }
        Ok(())
    }

    /// DISCONNECT may change how long the session is kept, but not from nothing to something (MQTT 5, 3.14.2.2.2).
    pub(super) fn change_expiry(&mut self, seconds: Option<u32>) -> Result<(), Violation> {
        let Some(seconds) = seconds else { return Ok(()) };
        if self.client.session_expiry.is_zero() && seconds > 0 {
            return Err(Violation::Protocol("session expiry set in DISCONNECT and not in CONNECT"));
        }
        let longest = self.hub.config.session_expiry_max_seconds;
        self.client.session_expiry = Duration::from_secs(seconds.min(longest).into());
        Ok(())
    }

    /// Says good-bye, sends the will, leaves the session behind.
    async fn leave(mut self: Box<Self>, ticket: Ticket, ending: Ending) {
        self.pauses = Pauses::default();
        self.hub.traffic.put_away(self.client.key(), &self.traffic, Instant::now());
        self.hub.metrics.disconnected(ending.label());
        log_ending(&ending, &self.client.client_id);
        if self.client.version == Version::V5 {
            codec::put_disconnect(&ending, self.client.wants_reasons, &mut self.out);
        }
        let revoked = matches!(ending, Ending::LoginRevoked);
        if !matches!(ending, Ending::Stopped) {
            let told = ending.reason_code().is_some();
            let violation = match &ending {
                Ending::Violation(violation) => Some(violation),
                _ => None,
            };
            // Who was revoked is gone within a second, also when it does not read.
            let patience = if revoked { FAREWELL / 2 } else { FAREWELL };
            let farewell = self.transport.farewell(&mut self.out, violation, told);
            tokio::time::timeout(patience, farewell).await.ok();
        }
        // The socket goes before the ticket: a client that takes over must not find the old one still open.
        drop(self.transport);
        let hub = self.hub;
        if !self.feeder.is_empty() {
            // What was read goes to the database even when its sender is gone: a resend on the next connection waits for
            // it. Who takes over does not wait, though.
            let (mut feeder, hard) = (self.feeder, self.stops.hard.clone());
            hub.tasks.spawn(async move { hard.run_until_cancelled(feeder.drain()).await });
        }
        self.session.window.orphan_all();
        let expiry = if revoked { Duration::ZERO } else { self.client.session_expiry };
        // DISCONNECT has taken the will away, unless it asked for it.
        let will = self.client.will.take().filter(|_| !matches!(ending, Ending::Stopped));
        let mut due = None;
        let delayed_will = match will {
            Some(will) if will.delay.is_zero() || expiry.is_zero() => {
                due = Some(will);
                None
            }
            Some(will) => {
                let delay = will.delay.min(expiry);
                Some((will, delay))
            }
            None => None,
        };
        self.session.set_connected(false);
        if !expiry.is_zero() {
            self.session.note_parked(expiry, delayed_will.as_ref().map(|(will, delay)| (will, *delay)));
        }
        let session = (!expiry.is_zero()).then_some((self.session, expiry));
        let leave = Leave { session, delayed_will };
        let late = hub.registry.release(ticket, leave);
        for will in due.into_iter().chain(late) {
            send_will(&hub, will, &self.stops.hard);
        }
    }
}

async fn ready(outbox: Option<&Arc<Outbox>>) {
    match outbox {
        Some(outbox) => outbox.ready().await,
        None => std::future::pending().await,
    }
}

async fn relaxed(outbox: Option<&Arc<Outbox>>) {
    match outbox {
        Some(outbox) => outbox.relaxed().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

fn log_ending(ending: &Ending, client: &str) {
    match ending {
        Ending::Violation(_) => {
            info!(client, reason = %ending, "MQTT connection closed: the client broke a rule")
        }
        _ => debug!(client, reason = %ending, "MQTT connection ended"),
    }
}
