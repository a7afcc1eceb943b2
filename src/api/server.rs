//! Connections: bounded in number and in the time that a request's head may take, ended by the soft stop.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{ServiceExt, service_fn};
use tracing::{debug, warn};

/// After an accept that failed, for example for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Requests that run at the stop have so long to end.
const GRACE: Duration = Duration::from_secs(5);

/// What a connection may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectionLimits {
    /// At once; more of them wait in the kernel's backlog.
    pub(super) max_connections: usize,
    /// From the first byte of a request to the end of its head, and from one request to the next.
    pub(super) head_timeout: Duration,
}

/// Serves until `stop`; requests that run then have [`GRACE`] to end.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ConnectionLimits,
    stop: CancellationToken,
) {
    let slots = Arc::new(Semaphore::new(limits.max_connections));
    let tasks = TaskTracker::new();
    let abandon = CancellationToken::new();
    let mut builder = Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.head_timeout);
    while let Some((socket, peer, slot)) = next(&listener, &slots, &stop).await {
        let router = router.clone();
        let service = service_fn(move |request: axum::http::Request<hyper::body::Incoming>| {
            let mut request: Request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            router.clone().oneshot(request)
        });
        let service = hyper_util::service::TowerToHyperService::new(service);
        let connection = builder.serve_connection(TokioIo::new(socket), service).with_upgrades();
        let (stop, abandon) = (stop.clone(), abandon.clone());
        tasks.spawn(async move {
            let mut connection = pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    tokio::select! {
                        ended = connection => ended,
                        () = abandon.cancelled() => Ok(()),
                    }
                }
            };
            if let Err(cause) = ended {
                debug!(%peer, %cause, "HTTP connection broke");
            }
            drop(slot);
        });
    }
    drop(listener);
    tasks.close();
    if tokio::time::timeout(GRACE, tasks.wait()).await.is_err() {
        debug!("HTTP requests that did not end are given up");
        abandon.cancel();
        tasks.wait().await;
    }
}

/// The next connection, with its slot; `None` at the stop.
async fn next(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let accept = async {
        loop {
            let slot = slots.clone().acquire_owned().await.expect("it is never closed");
            match listener.accept().await {
                Ok((socket, peer)) => {
                    // Best effort: small answers are not held back.
                    socket.set_nodelay(true).ok();
                    return (socket, peer, slot);
                }
                Err(error) => {
                    warn!(%error, "an HTTP connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => None,
        accepted = accept => Some(accepted),
    }
}
