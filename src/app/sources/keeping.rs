//! What a source reads is foreign: it may end its source's task, not the program.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// Runs a source until it ends by itself, or until one of `stops`; after a defect again, a `pause` later.
pub(super) async fn keep_running<R>(
    mut run: impl FnMut() -> R,
    mut note_defect: impl FnMut(),
    pause: Duration,
    [soft, hard]: [CancellationToken; 2],
) where
    R: Future<Output = ()> + Send + 'static,
{
    // A panic is in the log, and its error is all that `await` can give here.
    while tokio::spawn(run()).await.is_err() {
        note_defect();
        tokio::select! {
            () = soft.cancelled() => return,
            () = hard.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn stops() -> [CancellationToken; 2] {
        [(); 2].map(|()| CancellationToken::new())
    }

    /// Runs something that panics twice and then ends by itself; returns how often it ran and how often it was said to be defective.
    async fn panics_twice(stops: [CancellationToken; 2], pause: Duration) -> (usize, usize) {
        let (runs, defects) = (Arc::new(AtomicUsize::new(0)), AtomicUsize::new(0));
        let run = || {
            let runs = runs.clone();
            async move {
                let before = runs.fetch_add(1, Ordering::Relaxed);
                assert!(before >= 2, "this panic is part of the test");
            }
        };
        let kept = keep_running(
            run,
            || {
                defects.fetch_add(1, Ordering::Relaxed);
            },
            pause,
            stops,
        );
        tokio::time::timeout(PATIENCE, kept).await.expect("it ends");
        (runs.load(Ordering::Relaxed), defects.load(Ordering::Relaxed))
    }

    /// Catches a defect that ends a source for good (`keep_running` that awaits the task once), one that ends the program (the
    /// panic would reach this test), and one that leaves it shown as subscribed.
    #[tokio::test]
    async fn a_source_that_panics_is_started_again_until_it_ends_by_itself() {
        assert_eq!(panics_twice(stops(), Duration::from_millis(1)).await, (3, 2));
    }

    /// Catches a stop that waits for the end of the pause.
    #[tokio::test]
    async fn a_stop_ends_the_pause_after_a_defect() {
        for which in 0..2 {
            let stops = stops();
            stops[which].cancel();
            assert_eq!(panics_twice(stops, Duration::from_secs(3600)).await, (1, 1));
        }
    }
}
