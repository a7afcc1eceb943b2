//! Live delivery between clients through rumqttd's router, supervised: the router runs in a thread of its own, and a
//! second thread alone creates links, publishes and replaces the router when it dies. Both operations block in
//! rumqttd, which is why they do not run in the connections' tasks.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc as std_mpsc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rumqttd::local::{LinkBuilder, LinkError, LinkRx, LinkTx};
use rumqttd::protocol::Packet;
use rumqttd::{Router, RouterConfig};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};

use super::envelope::{Envelopes, router_topic};
use super::filter_index::FilterSlot;
use super::link::{Link, LinkNumber, LinkNumbers, wake_router};
use super::metrics::BrokerMetrics;
use super::publication::Publication;

/// Publications on their way to the router; a full channel makes publishers wait.
const CHANNEL_CAPACITY: usize = 1024;
/// Publications that are handed to the router with one wake-up.
const PUBLISH_BATCH: usize = 256;
/// Packets that the router has been given and has not looked at; then it is waited for.
const ROUTER_BACKLOG: usize = 4096;
const ROUTER_BACKLOG_POLL: Duration = Duration::from_millis(1);
/// A publisher waits so long for a router that takes nothing.
const ROUTER_PATIENCE: Duration = Duration::from_secs(1);
const SEGMENTS: usize = 4;
/// Messages that the router hands to a link in one turn.
const ROUTER_TURN: u64 = 100;
/// A router that has not answered by then is given up.
const BUILD_TIMEOUT: Duration = Duration::from_secs(5);
const BUILD_POLL: Duration = Duration::from_millis(50);

/// Why a link could not be had.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum FanoutError {
    #[error("too many clients with subscriptions")]
    TooManyLinks,
    #[error("the router is not available")]
    Unavailable,
}

enum Command {
    Publish(Arc<Publication>, Vec<FilterSlot>),
    Open(oneshot::Sender<Result<Link, FanoutError>>),
    #[cfg(test)]
    CrashRouter,
}

/// The way to the router.
#[derive(Clone)]
pub(super) struct Fanout {
    commands: mpsc::Sender<Command>,
    /// Set while the router takes nothing.
    stalled: Arc<AtomicBool>,
    generation: watch::Receiver<u64>,
}

impl Fanout {
    pub(super) fn start(max_links: usize, log_bytes: usize, metrics: Arc<BrokerMetrics>) -> Self {
        let (commands, receiver) = mpsc::channel(CHANNEL_CAPACITY);
        let (announce, generation) = watch::channel(0);
        let supervisor = Supervisor {
            max_links,
            segment_bytes: (log_bytes / SEGMENTS).max(1024),
            open_links: Arc::default(),
            link_numbers: LinkNumbers::default(),
            topics: HashMap::new(),
            envelopes: Envelopes::new(Instant::now()),
            announce,
            metrics,
        };
        // The thread ends when the last handle is gone.
        let spawned =
            thread::Builder::new().name("mqtt-fanout".into()).spawn(move || supervisor.run(receiver));
        if let Err(error) = spawned {
            tracing::error!(%error, "cannot start the MQTT router; clients will not hear each other");
        }
        Self { commands, stalled: Arc::default(), generation }
    }

    /// Waits when the router is behind, but not when it stands still: those who publish usage must not wait for those
    /// who listen. False when the publication was dropped for that.
    pub(super) async fn publish(&self, publication: Arc<Publication>, slots: Vec<FilterSlot>) -> bool {
        let taken = match self.commands.try_send(Command::Publish(publication, slots)) {
            Ok(()) => true,
            // Without the thread there is no subscriber either.
            Err(mpsc::error::TrySendError::Closed(_)) => return true,
            Err(mpsc::error::TrySendError::Full(_)) if self.stalled.load(Ordering::Relaxed) => false,
            Err(mpsc::error::TrySendError::Full(command)) => {
                tokio::time::timeout(ROUTER_PATIENCE, self.commands.send(command)).await.is_ok()
            }
        };
        if self.stalled.load(Ordering::Relaxed) == taken {
            self.stalled.store(!taken, Ordering::Relaxed);
        }
        taken
    }

    pub(super) async fn open(&self) -> Result<Link, FanoutError> {
        let (answer, link) = oneshot::channel();
        self.commands.send(Command::Open(answer)).await.map_err(|_| FanoutError::Unavailable)?;
        link.await.map_err(|_| FanoutError::Unavailable)?
    }

    /// Changes with every restart of the router.
    pub(super) fn generation(&self) -> watch::Receiver<u64> {
        self.generation.clone()
    }

    #[cfg(test)]
    pub(super) async fn crash_router(&self) {
        let _ = self.commands.send(Command::CrashRouter).await;
    }
}

type BuiltLink = Result<(LinkTx, LinkRx), LinkError>;

/// A running router and the one link through which everything is published.
struct RunningRouter {
    /// Names of links to build, and the links. A thread of its own builds them: a router that dies while it is asked
    /// leaves the question in its channel unanswered, and the thread that asked blocks for ever.
    wanted: std_mpsc::Sender<String>,
    built: std_mpsc::Receiver<BuiltLink>,
    is_gone: Box<dyn Fn() -> bool>,
    publisher: Option<(LinkTx, LinkRx)>,
    /// Built ahead, so that SUBACK does not wait for four changes of threads.
    spare: Option<(LinkTx, LinkRx, LinkNumber)>,
}

impl RunningRouter {
    fn start(config: RouterConfig) -> io::Result<Self> {
        let sender = Router::new(0, config).spawn();
        let (wanted, names) = std_mpsc::channel::<String>();
        let (links, built) = std_mpsc::channel();
        let watched = sender.clone();
        let build = move || {
            for name in names {
                let builder =
                    LinkBuilder::new(&name, sender.clone()).clean_session(true).dynamic_filters(true);
                let link = builder.build().map(|(sender, receiver, _)| (sender, receiver));
                if links.send(link).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().name("mqtt-links".into()).spawn(build)?;
        let is_gone = Box::new(move || watched.is_disconnected());
        let mut router = Self { wanted, built, is_gone, publisher: None, spare: None };
        router.publisher = router.build("publisher".into());
        match router.publisher {
            Some(_) => Ok(router),
            None => Err(io::Error::other("no link to a new router")),
        }
    }

    /// `None` when the router is dead.
    fn build(&self, name: String) -> Option<(LinkTx, LinkRx)> {
        self.wanted.send(name).ok()?;
        let deadline = Instant::now() + BUILD_TIMEOUT;
        while Instant::now() < deadline {
            match self.built.recv_timeout(BUILD_POLL) {
                Ok(link) => return link.ok(),
                Err(std_mpsc::RecvTimeoutError::Timeout) if !(self.is_gone)() => {}
                Err(_) => return None,
            }
        }
        None
    }

    /// A link under a name of our own: client identifiers may hold characters that the router refuses without an answer.
    fn build_numbered(&self, numbers: &LinkNumbers) -> Option<(LinkTx, LinkRx, LinkNumber)> {
        let number = numbers.take();
        let (sender, receiver) = self.build(number.name())?;
        Some((sender, receiver, number))
    }

    fn take_spare(&mut self) -> Option<(LinkTx, LinkRx, LinkNumber)> {
        self.spare.take().filter(|_| !(self.is_gone)())
    }

    /// False when the router is dead.
    fn publish(&mut self, packets: &mut Vec<Packet>) -> bool {
        let Some((publisher, _)) = &mut self.publisher else { return false };
        while publisher.buffer().len() > ROUTER_BACKLOG {
            if (self.is_gone)() {
                return false;
            }
            thread::sleep(ROUTER_BACKLOG_POLL);
        }
        publisher.buffer().extend(packets.drain(..));
        wake_router(publisher).is_ok()
    }
}

/// State of the thread that owns the router.
struct Supervisor {
    max_links: usize,
    segment_bytes: usize,
    open_links: Arc<AtomicUsize>,
    link_numbers: LinkNumbers,
    /// What the router calls a filter, and how many publications it has had.
    topics: HashMap<FilterSlot, (Bytes, u64)>,
    envelopes: Envelopes,
    announce: watch::Sender<u64>,
    metrics: Arc<BrokerMetrics>,
}

impl Supervisor {
    fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut router = self.start_router();
        let (mut batch, mut packets) = (Vec::new(), Vec::new());
        while commands.blocking_recv_many(&mut batch, PUBLISH_BATCH) > 0 {
            for command in batch.drain(..) {
                match command {
                    Command::Publish(publication, slots) => self.seal(&publication, &slots, &mut packets),
                    Command::Open(answer) => {
                        // What was published before must not reach the new link.
                        self.flush(&mut router, &mut packets);
                        let _ = answer.send(self.open(&mut router));
                    }
                    #[cfg(test)]
                    Command::CrashRouter => {
                        // A first character of two bytes: the router cuts the topic at one.
                        packets.push(Packet::Publish(rumqttd::protocol::Publish::new("é", "", false), None));
                    }
                }
            }
            self.flush(&mut router, &mut packets);
            if router.spare.is_none() {
                router.spare = router.build_numbered(&self.link_numbers);
            }
        }
    }

    fn seal(&mut self, publication: &Publication, slots: &[FilterSlot], packets: &mut Vec<Packet>) {
        for slot in slots {
            let (topic, sequence) =
                self.topics.entry(*slot).or_insert_with(|| (router_topic(*slot).into(), 0));
            *sequence += 1;
            packets.push(self.envelopes.seal(publication, *sequence, topic.clone()));
        }
    }

    fn flush(&mut self, router: &mut RunningRouter, packets: &mut Vec<Packet>) {
        if !packets.is_empty() && !router.publish(packets) {
            *router = self.restart_router();
        }
    }

    fn open(&mut self, router: &mut RunningRouter) -> Result<Link, FanoutError> {
        if self.open_links.load(Ordering::Acquire) >= self.max_links {
            return Err(FanoutError::TooManyLinks);
        }
        let built = router.take_spare().or_else(|| router.build_numbered(&self.link_numbers));
        let (sender, receiver, number) = match built {
            Some(link) => link,
            None => {
                *router = self.restart_router();
                router.build_numbered(&self.link_numbers).ok_or(FanoutError::Unavailable)?
            }
        };
        self.open_links.fetch_add(1, Ordering::AcqRel);
        let (open_links, generation) = (self.open_links.clone(), *self.announce.borrow());
        Ok(Link::new(sender, receiver, number, open_links, self.envelopes, generation))
    }

    fn restart_router(&self) -> RunningRouter {
        tracing::error!("the MQTT router died and is started again; ingest is not affected");
        self.metrics.router_restarts.inc();
        let router = self.start_router();
        self.announce.send_modify(|generation| *generation += 1);
        router
    }

    fn start_router(&self) -> RunningRouter {
        loop {
            let config = RouterConfig {
                // One more for publishing, and some for links whose end the router has not seen yet.
                max_connections: self.max_links + 16,
                max_outgoing_packet_count: ROUTER_TURN,
                max_segment_size: self.segment_bytes,
                max_segment_count: SEGMENTS,
                ..RouterConfig::default()
            };
            match RunningRouter::start(config) {
                Ok(router) => return router,
                Err(error) => {
                    tracing::error!(%error, "the MQTT router does not start");
                    thread::sleep(Duration::from_secs(1));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::TenantId;

    fn fanout(max_links: usize) -> (Fanout, Arc<BrokerMetrics>) {
        let metrics = Arc::new(BrokerMetrics::default());
        (Fanout::start(max_links, 1 << 20, metrics.clone()), metrics)
    }

    fn publication(topic: &str) -> Arc<Publication> {
        let payload = Bytes::copy_from_slice(topic.as_bytes());
        Arc::new(Publication::new(TenantId(1), topic.into(), payload, None, Instant::now()))
    }

    #[tokio::test]
    async fn a_link_gets_what_was_published_after_it_subscribed_in_order() {
        let (fanout, _) = fanout(4);
        let mut link = fanout.open().await.unwrap();
        link.subscribe(FilterSlot(1)).await.unwrap();
        // More than the router hands over before it waits to be asked for more.
        let topics: Vec<String> = (0..1000).map(|n| format!("é/{n}")).collect();
        for topic in &topics {
            fanout.publish(publication(topic), vec![FilterSlot(1), FilterSlot(2)]).await;
        }
        for topic in &topics {
            assert_eq!(&*link.next().await.unwrap().publication.topic, topic);
        }
    }

    #[tokio::test]
    async fn links_are_limited_and_given_back() {
        let (fanout, _) = fanout(1);
        let link = fanout.open().await.unwrap();
        assert_eq!(fanout.open().await.err(), Some(FanoutError::TooManyLinks));
        drop(link);
        assert!(fanout.open().await.is_ok());
    }

    /// Defect of stock rumqttd: what is kept for a client identifier is never freed. Catches a new name for every link.
    #[tokio::test]
    async fn names_of_links_are_used_again() {
        let (fanout, _) = fanout(4);
        let mut names = std::collections::BTreeSet::new();
        for round in 0..50 {
            let mut link = fanout.open().await.unwrap();
            names.insert(link.name());
            link.subscribe(FilterSlot(1)).await.unwrap();
            fanout.publish(publication(&round.to_string()), vec![FilterSlot(1)]).await;
            assert_eq!(*link.next().await.unwrap().publication.topic, round.to_string());
        }
        assert!(names.len() <= 3, "{names:?}");
    }

    #[tokio::test]
    async fn a_dead_router_is_replaced() {
        let (fanout, metrics) = fanout(4);
        let mut link = fanout.open().await.unwrap();
        link.subscribe(FilterSlot(1)).await.unwrap();
        fanout.crash_router().await;
        assert!(link.next().await.is_err());
        drop(link);
        let mut link = fanout.open().await.unwrap();
        while link.generation() == 0 {
            // A router that is about to die still gives links.
            link = fanout.open().await.unwrap();
        }
        assert_eq!(metrics.router_restarts.get(), 1);
        link.subscribe(FilterSlot(1)).await.unwrap();
        fanout.publish(publication("a"), vec![FilterSlot(1)]).await;
        assert_eq!(&*link.next().await.unwrap().publication.topic, "a");
    }
}
