//! Handshakes of TLS take a thousand times as long as a message. Some of them at once are no harm to others; one for each
//! connection that is ready for it would be.

use std::future::poll_fn;
use std::mem;
use std::pin::pin;
use std::task::Poll;

use tokio::sync::Semaphore;

/// Runs `work` with a permit of `places` whenever it computes, in the order in which it became ready to. It holds none while it
/// waits for the network.
pub(super) async fn in_turn<T>(places: &Semaphore, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    loop {
        // The semaphore is never closed.
        let permit = places.acquire().await;
        let polled = poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
        drop(permit);
        if let Poll::Ready(done) = polled {
            return done;
        }
        // Whatever wakes this task next may be what the work waits for.
        let mut waited = false;
        poll_fn(|_| if mem::replace(&mut waited, true) { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::oneshot;

    use super::*;

    /// Catches a permit that is held while the client is waited for, and work without one.
    #[tokio::test]
    async fn who_waits_for_the_network_keeps_nobody_from_computing() {
        let places = Arc::new(Semaphore::new(1));
        let (free, steps) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (answer, slow) = oneshot::channel::<()>();
        let step = |places: &Semaphore| {
            free.fetch_add(places.available_permits(), Ordering::Relaxed);
            steps.fetch_add(1, Ordering::Relaxed);
        };
        let waiting = in_turn(&places, async {
            step(&places);
            slow.await.unwrap();
            step(&places);
        });
        let quick = async {
            in_turn(&places, async { step(&places) }).await;
            answer.send(()).unwrap();
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), async { tokio::join!(waiting, quick) })
            .await
            .expect("the one that waits keeps the only permit");
        assert_eq!((free.load(Ordering::Relaxed), steps.load(Ordering::Relaxed)), (0, 3));
    }
}
