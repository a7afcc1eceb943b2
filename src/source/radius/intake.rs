//! What arrives at the socket.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Sender;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::RadiusSource;
use super::accounting::{self, Context, Report};
use super::duplicates::{RequestKey, Seen};
use super::metrics::DropReason;
use super::packet::{MAX_PACKET_BYTES, Malformed, Packet};

/// Addresses and reasons that are told apart in the log: whoever sends from many addresses must not fill it, nor the memory.
const MENTIONED_MAX: usize = 1_000;
/// While too much comes, this is mentioned so often.
const REMIND_EVERY: Duration = Duration::from_secs(60);
/// After an error of the socket, which is the machine's and may stay for a while.
const AFTER_ERROR: Duration = Duration::from_millis(100);

/// A request that is proven to be a client's.
pub(super) struct Request {
    pub(super) key: RequestKey,
    pub(super) report: Report,
    pub(super) answer: Vec<u8>,
    pub(super) since: Instant,
}

/// Takes datagrams apart and hands requests over.
pub(super) struct Intake {
    source: Arc<RadiusSource>,
    requests: Sender<Request>,
    mentioned: HashSet<(IpAddr, DropReason)>,
    overload_mentioned: Option<Instant>,
}

impl Intake {
    pub(super) fn new(source: Arc<RadiusSource>, requests: Sender<Request>) -> Self {
        Self { source, requests, mentioned: HashSet::new(), overload_mentioned: None }
    }

    /// Receives until `soft`.
    pub(super) async fn run(mut self, soft: CancellationToken) {
        // A byte more than a packet may have, or a longer one would look like one that fits.
        let mut buffer = vec![0; MAX_PACKET_BYTES + 1];
        loop {
            let received = tokio::select! {
                () = soft.cancelled() => return,
                received = self.source.socket.recv_from(&mut buffer) => received,
            };
            match received {
                Ok((bytes, from)) => {
                    // Two sockets in one speak IPv4 too, in addresses of IPv6.
                    let sender = from.ip().to_canonical();
                    if let Some(answer) = self.take(&buffer[..bytes], from, sender) {
                        self.source.socket.send_to(&answer, from).await.ok();
                    }
                }
                Err(error) => {
                    warn!(source = self.source.state.name(), %error, "the socket cannot be read");
                    tokio::time::sleep(AFTER_ERROR).await;
                }
            }
        }
    }

    /// Returns what can be answered at once.
    fn take(&mut self, datagram: &[u8], from: std::net::SocketAddr, sender: IpAddr) -> Option<Vec<u8>> {
        let source = self.source.clone();
        let received_at = source.state.message();
        let Some(client) = source.clients.of(sender) else {
            self.drop(sender, DropReason::UnknownClient, "is the address of no client");
            return None;
        };
        let packet = match parse(datagram) {
            Ok(packet) => packet,
            Err(fault) => {
                self.drop(sender, DropReason::Malformed, &fault.to_string());
                return None;
            }
        };
        if !packet.is_of(&client.secret) {
            self.drop(sender, DropReason::WrongSecret, "it was made with another secret");
            return None;
        }
        let account = &source.options.account;
        let context =
            Context { source: source.state.name(), client: &client.name, sender, received_at, account };
        let report = match accounting::read(packet, &context) {
            Ok((report, clock_ignored)) => {
                source.counts.clocks_ignored.inc_by(clock_ignored.into());
                report
            }
            Err(fault) => {
                self.drop(sender, DropReason::Malformed, &fault.to_string());
                return None;
            }
        };
        let key = RequestKey { from, identifier: packet.identifier(), authenticator: packet.authenticator() };
        let since = Instant::now();
        match source.duplicates().see(key, since) {
            Seen::New => {}
            Seen::InFlight => {
                source.counts.duplicates.inc();
                return None;
            }
            Seen::Answered(answer) => {
                source.counts.duplicates.inc();
                return Some(answer);
            }
        }
        let answer = packet.response(&client.secret);
        if self.requests.try_send(Request { key, report, answer, since }).is_err() {
            source.duplicates().dropped(&key);
            self.overloaded(since);
        }
        None
    }

    fn drop(&mut self, sender: IpAddr, reason: DropReason, fault: &str) {
        self.source.counts.dropped(reason);
        let source = self.source.state.name();
        if self.mentioned.len() < MENTIONED_MAX && self.mentioned.insert((sender, reason)) {
            warn!(source, %sender, fault, "a datagram was dropped; others of this address for this reason are only counted");
            if self.mentioned.len() == MENTIONED_MAX {
                warn!(source, "datagrams of further addresses that are dropped are only counted");
            }
        } else {
            debug!(source, %sender, fault, "a datagram was dropped");
        }
    }

    fn overloaded(&mut self, now: Instant) {
        self.source.counts.dropped(DropReason::Overload);
        if self.overload_mentioned.is_none_or(|at| now - at >= REMIND_EVERY) {
            self.overload_mentioned = Some(now);
            let (source, waiting) = (self.source.state.name(), self.source.options.max_waiting_requests);
            warn!(source, waiting, "requests are dropped, because so many wait; they are sent again");
        }
    }
}

fn parse(datagram: &[u8]) -> Result<Packet<'_>, Malformed> {
    // The rest of a longer one was cut off.
    if datagram.len() > MAX_PACKET_BYTES { Err(Malformed::Length) } else { Packet::parse(datagram) }
}
