//! Reading, writing and keeping account, until the end of the file or a stop.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::domain::Clock;
use crate::ingest::metrics::IngestMetrics;
use crate::ingest::queue::{Sender, Via};
use crate::ingest::{DatabaseState, PipelineOptions};
use crate::store::file_imports::Committed;
use crate::store::{Store, StoreError};

use super::lanes::Lanes;
use super::ledger::Ledger;
use super::resolving::resolve;
use super::{Import, ImportError};

/// How often the place to go on from is saved: what a kill makes the next import read again.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// How often the account is shown.
const SHOW_EVERY: Duration = Duration::from_millis(200);
/// The end of an import is saved again after so long while the database is away.
const SAVE_AGAIN: Duration = Duration::from_secs(1);

/// What an import runs on.
#[derive(Clone)]
pub struct RunOptions {
    pub store: Store,
    pub pipeline: PipelineOptions,
    /// What rows are counted in.
    pub metrics: Arc<IngestMetrics>,
    /// Told when the database is away, and when it is back.
    pub database: DatabaseState,
    pub clock: Clock,
    /// Ends the reading; what was read is committed.
    pub stop: CancellationToken,
    /// How long that may take.
    pub grace: Duration,
}

/// How an import stands while it runs.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    pub committed: Committed,
    /// False while the database does not take what was read.
    pub database_works: bool,
}

/// How an import ended.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// Of the whole file, earlier imports included.
    pub committed: Committed,
    /// The end of the file was reached, and everything before it is committed.
    pub finished: bool,
    /// The next import of the file knows all of this.
    pub saved: bool,
}

impl Import {
    /// Imports what is left of the file; `show` is called now and then.
    ///
    /// # Errors
    /// [`ImportError`] when the file cannot be read any further; what was read is committed, and the place is saved.
    pub async fn run(
        mut self,
        options: RunOptions,
        mut show: impl FnMut(Progress),
    ) -> Result<Report, ImportError> {
        let ledger = Ledger::new(self.before);
        let (database, tasks, hard) =
            (options.database.clone(), TaskTracker::new(), CancellationToken::new());
        // Whoever drops this future wants nothing more of the file.
        let _ends_writers = hard.clone().drop_guard();
        let lanes = Lanes::start(
            Sender {
                tenant: self.request.tenant,
                may_correct: self.request.may_correct,
                iccid: None,
                via: Via::File,
                name: self.rows.input().name.clone(),
            },
            &options,
            &tasks,
            &hard,
        );
        tasks.close();
        let entry = self.entry;
        let work = async {
            let read = tokio::select! {
                biased;
                () = options.stop.cancelled() => Ok(false),
                read = self.feed(lanes, &ledger, &options) => read.map(|()| true),
            };
            let drained = drain(&tasks, &hard, &options).await;
            read.map(|whole| whole && drained)
        };
        let read = tokio::select! {
            read = work => read,
            never = keep_saving(&options.store, entry, &ledger) => match never {},
            never = keep_showing(&ledger, &database, &mut show) => match never {},
        };
        let finished = matches!(read, Ok(true));
        let committed = ledger.committed();
        show(Progress { committed, database_works: database.is_working() });
        let saved = match entry {
            Some(id) => save_end(&options, id, &committed, finished).await.is_ok(),
            None => false,
        };
        read?;
        Ok(Report { committed, finished, saved })
    }

    /// Reads the file and puts its rows on their way. The lanes end with what they hold when this does.
    async fn feed(&mut self, lanes: Lanes, ledger: &Ledger, options: &RunOptions) -> Result<(), ImportError> {
        while let Some(mut stretch) = self.rows.next().await? {
            if let Some(mapping) = &self.mapping {
                resolve(&mut stretch.rows, &options.store, self.request.tenant, &mapping.name).await?;
            }
            let open = ledger.open(stretch.rows.len(), stretch.end);
            let now = options.clock.now();
            for row in stretch.rows {
                lanes.send(row, now, open.clone()).await?;
            }
        }
        Ok(())
    }
}

/// Waits until everything that was sent is committed; after a stop at most the grace period. Whether all of it is.
async fn drain(tasks: &TaskTracker, hard: &CancellationToken, options: &RunOptions) -> bool {
    tokio::select! {
        () = tasks.wait() => return true,
        () = options.stop.cancelled() => {}
    }
    let drained = timeout(options.grace, tasks.wait()).await.is_ok();
    if !drained {
        hard.cancel();
        tasks.wait().await;
    }
    drained
}

async fn keep_saving(store: &Store, entry: Option<i64>, ledger: &Ledger) -> Infallible {
    let Some(id) = entry else { return std::future::pending().await };
    let mut saved = ledger.committed();
    loop {
        tokio::time::sleep(SAVE_EVERY).await;
        let committed = ledger.committed();
        // What cannot be saved now is saved with the next: an outage is told by the writers.
        if committed != saved && store.save_file_import(id, &committed, false).await.is_ok() {
            saved = committed;
        }
    }
}

async fn keep_showing(
    ledger: &Ledger,
    database: &DatabaseState,
    show: &mut impl FnMut(Progress),
) -> Infallible {
    loop {
        tokio::time::sleep(SHOW_EVERY).await;
        show(Progress { committed: ledger.committed(), database_works: database.is_working() });
    }
}

/// Saves how the import ended: until it succeeds, or once when the import is to stop.
async fn save_end(
    options: &RunOptions,
    id: i64,
    committed: &Committed,
    finished: bool,
) -> Result<(), StoreError> {
    loop {
        match options.store.save_file_import(id, committed, finished).await {
            Err(_) if !options.stop.is_cancelled() => {}
            ended => return ended,
        }
        tokio::select! {
            () = options.stop.cancelled() => {}
            () = tokio::time::sleep(SAVE_AGAIN) => {}
        }
    }
}
