//! RADIUS accounting (RFC 2866): a NAS tells over UDP what the sessions of its users have counted, and repeats it until it is
//! answered.
//!
//! An answer means COMMIT. One task receives: it checks, recognises repetitions and drops what is nobody's. Another one takes
//! what is there, stores it as one batch and answers all of it, so that the rate is not that of single commits.

mod accounting;
mod clients;
mod delivery;
mod duplicates;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod intake;
pub(crate) mod metrics;
mod packet;
mod prefix;
mod sessions;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, info};

use crate::domain::{Clock, TenantId};
use crate::ingest::queue::IngestQueue;
use crate::shutdown::Hangups;
use crate::store::Store;

use super::metrics::SourceState;
use super::readings::{FirstReading, Readings};
use super::{Source, SourceFault};
use clients::Clients;
use delivery::Delivery;
use duplicates::Duplicates;
use intake::Intake;
use metrics::RadiusCounts;

pub use accounting::{AccountAttribute, NoAccountAttribute};
pub use clients::ClientOptions;
pub use prefix::{Prefix, PrefixError};

/// Bytes of datagrams that the kernel may keep until they are received: some thousand requests, because all clients may report in
/// the same second. The kernel gives as much of it as it may (`net.core.rmem_max`).
const KERNEL_BUFFER_BYTES: usize = 4 << 20;

/// How a source listens.
pub struct RadiusOptions {
    pub listen: SocketAddr,
    pub tenant: TenantId,
    pub clients: Vec<ClientOptions>,
    /// The first one that a packet has names the account.
    pub account: Vec<AccountAttribute>,
    /// Requests that were taken and not answered yet, those of the current batch apart.
    pub max_waiting_requests: usize,
    pub batch_max_requests: usize,
    pub duplicates_max_age: Duration,
    pub duplicates_max_requests: usize,
}

/// A socket at which requests are answered.
pub struct RadiusSource {
    options: RadiusOptions,
    socket: UdpSocket,
    clients: Clients,
    duplicates: Mutex<Duplicates>,
    state: Arc<SourceState>,
    counts: RadiusCounts,
    store: Store,
    clock: Clock,
}

impl Source for RadiusSource {
    fn state(&self) -> &SourceState {
        &self.state
    }

    /// Answers until `soft` and everything that was taken is answered, or until `hard`.
    async fn run(self: Arc<Self>, queue: IngestQueue, soft: CancellationToken, hard: CancellationToken) {
        let address = self.socket.local_addr().map(|address| address.to_string()).unwrap_or_default();
        info!(source = self.state.name(), address, "requests for accounting are answered");
        self.state.working();
        let (requests, taken) = mpsc::channel(self.options.max_waiting_requests);
        let tenant = self.options.tenant;
        let name = self.state.name();
        let readings = Readings::new(self.store.clone(), queue, tenant, name, FirstReading::Counts);
        // A task of its own, so that it goes on receiving while batches are put together.
        let intake = AbortOnDropHandle::new(tokio::spawn(Intake::new(self.clone(), requests).run(soft)));
        let mut delivery = Delivery::new(&self, readings);
        tokio::select! {
            () = hard.cancelled() => {}
            // It ends when the intake has ended and everything is answered.
            () = delivery.run(taken) => if let Err(ended) = intake.await && ended.is_panic() {
                // A defect ends the source as a whole, which is started again then.
                std::panic::resume_unwind(ended.into_panic());
            }
        }
        // What was not answered is sent again, and new to whoever runs then.
        *self.duplicates() = Duplicates::new(Duration::ZERO, 1);
        self.state.stopped();
    }
}

impl RadiusSource {
    /// Reads the secrets and binds the socket; nothing is received yet.
    ///
    /// # Errors
    /// [`SourceFault`] when a secret cannot be read or the address is taken.
    pub(crate) async fn bind(
        options: RadiusOptions,
        state: Arc<SourceState>,
        counts: RadiusCounts,
        store: Store,
        clock: Clock,
    ) -> Result<Self, SourceFault> {
        let clients = Clients::load(options.clients.clone())?;
        let socket = UdpSocket::bind(options.listen).await.map_err(|cause| SourceFault {
            key: "listen",
            problem: format!("{}: {cause}", options.listen),
        })?;
        // Less room costs repetitions, no usage.
        if let Err(error) = setsockopt(&socket, sockopt::RcvBuf, &KERNEL_BUFFER_BYTES) {
            debug!(source = state.name(), %error, "the kernel keeps as many datagrams as it does by itself");
        }
        let duplicates =
            Mutex::new(Duplicates::new(options.duplicates_max_age, options.duplicates_max_requests));
        Ok(Self { options, socket, clients, duplicates, state, counts, store, clock })
    }

    fn duplicates(&self) -> MutexGuard<'_, Duplicates> {
        self.duplicates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the secrets of all clients again at each SIGHUP, until `stop`.
pub(crate) async fn reload_at_hangups(
    sources: Vec<Arc<RadiusSource>>,
    mut hangups: Hangups,
    stop: CancellationToken,
) {
    while stop.run_until_cancelled(hangups.next()).await.is_some() {
        for source in &sources {
            source.clients.reload(source.state.name());
        }
    }
}
