use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::Hub;
use super::connection::{self, Stops};
use super::transport::{Listener, ListenerProtocol};
use super::will::Will;

/// What is over is looked for this often: sessions, delays of wills, retained messages, and rates that are at rest again.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// After a refused accept (no file descriptors, say) it is tried again so much later.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const WARN_EVERY: Duration = Duration::from_secs(10);

/// Accepts until `soft`; returns when every connection is gone.
pub(super) async fn run(
    hub: Arc<Hub>,
    mut listeners: Vec<Listener>,
    soft: CancellationToken,
    hard: CancellationToken,
) {
    let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
    housekeeping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut warned: Option<Instant> = None;
    // What ended while the program was away ends before the first client comes.
    keep_house(&hub, Instant::now(), &hard);
    loop {
        let accepted = tokio::select! {
            () = soft.cancelled() => break,
            () = hard.cancelled() => break,
            _ = housekeeping.tick() => {
                keep_house(&hub, Instant::now(), &hard);
                continue;
            }
            accepted = accept(&mut listeners) => accepted,
        };
        match accepted {
            Ok((stream, address, protocol)) => {
                let stops = Stops { soft: soft.clone(), hard: hard.clone() };
                admit(&hub, stream, address, protocol, stops);
            }
            Err(error) => {
                if warned.is_none_or(|at| at.elapsed() > WARN_EVERY) {
                    warned = Some(Instant::now());
                    warn!(%error, "cannot accept MQTT connections");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listeners);
    hub.tasks.close();
    hub.tasks.wait().await;
}

/// The next client of any listener. They take turns, so that a rush at one does not shut the others. Cancel-safe.
async fn accept(listeners: &mut [Listener]) -> io::Result<(TcpStream, IpAddr, ListenerProtocol)> {
    let (at, accepted) = poll_fn(|context| {
        let ready = listeners.iter().enumerate().find_map(|(at, listener)| {
            match listener.socket.poll_accept(context) {
                Poll::Ready(accepted) => Some((at, accepted)),
                Poll::Pending => None,
            }
        });
        ready.map_or(Poll::Pending, Poll::Ready)
    })
    .await;
    let protocol = listeners[at].protocol.clone();
    listeners[at..].rotate_left(1);
    let (stream, address) = accepted?;
    Ok((stream, address.ip(), protocol))
}

/// Ends what has expired at `now`.
pub(super) fn keep_house(hub: &Arc<Hub>, now: Instant, hard: &CancellationToken) {
    hub.retained.remove_expired(now);
    hub.admission.tidy(now);
    hub.take_overs.tidy(now);
    hub.traffic.tidy(now);
    for will in hub.registry.take_expired(now).wills {
        send_will(hub, will, hard);
    }
    // Every message is looked up there.
    drop(hub.subscriptions.tenants_below(""));
    hub.pulse.send_replace(Instant::now());
}

/// Publishes a will in a task of its own, because that may wait for the queue.
pub(super) fn send_will(hub: &Arc<Hub>, will: Will, hard: &CancellationToken) {
    let (on, hard) = (hub.clone(), hard.clone());
    hub.tasks.spawn(async move { hard.run_until_cancelled(will.publish(&on)).await });
}

fn admit(hub: &Arc<Hub>, stream: TcpStream, address: IpAddr, protocol: ListenerProtocol, stops: Stops) {
    let arrival = match hub.admission.arrive(address, Instant::now()) {
        Ok(arrival) => arrival,
        Err(turned_away) => return hub.metrics.connection(turned_away.label()),
    };
    let tasks = hub.tasks.clone();
    let hub = hub.clone();
    tasks.spawn(async move {
        let place = tokio::select! {
            place = arrival.turn() => place,
            () = stops.soft.cancelled() => return,
            () = stops.hard.cancelled() => return,
        };
        let place = match place {
            Ok(place) => place,
            Err(turned_away) => return hub.metrics.connection(turned_away.label()),
        };
        if hub.open_connections.fetch_add(1, Ordering::AcqRel) >= hub.config.max_connections {
            hub.open_connections.fetch_sub(1, Ordering::AcqRel);
            return hub.metrics.connection("too_many");
        }
        hub.metrics.connections.inc();
        // Counted down also when the connection's task panics.
        let _open = Open(&hub);
        // Boxed, so that those who wait do not have the room for it.
        Box::pin(connection::serve(hub.clone(), stream, protocol, place, stops)).await;
    });
}

struct Open<'h>(&'h Hub);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open_connections.fetch_sub(1, Ordering::AcqRel);
        self.0.metrics.connections.dec();
    }
}
