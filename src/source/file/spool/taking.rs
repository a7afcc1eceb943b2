//! One file: imported, or found to be none, and put away.

use std::io::ErrorKind;

use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::source::file::stamp::Stamp;
use crate::source::file::{Import, ImportError, ImportRequest, Opened, Report, RunOptions, UsageFile};
use crate::store::StoreError;

use super::putting_away::put_away;
use super::{Notes, SpoolSource};

const DONE: &str = "done";
const FAILED: &str = "failed";

/// A file that is done with.
pub(super) struct Settled {
    stamp: Stamp,
    /// Why it could not be used.
    reason: Option<String>,
}

/// Why a file stays where it is.
#[derive(Debug, Error)]
pub(super) enum TakeFault {
    /// The next turn tries again.
    #[error("{0}")]
    File(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("stopped")]
    Stopped,
}

impl SpoolSource {
    /// Imports a file and puts it away; one that was imported before is put away only. A file that changes meanwhile is left
    /// for when it has settled again.
    pub(super) async fn take(
        &self,
        notes: &mut Notes,
        name: &str,
        soft: &CancellationToken,
    ) -> Result<(), TakeFault> {
        let Some(stamp) = notes.sightings.stamp(name) else { return Ok(()) };
        let settled = match notes.unmoved.remove(name).filter(|settled| settled.stamp == stamp) {
            Some(settled) => settled,
            None => match self.settle(name, stamp, soft).await? {
                Some(settled) => settled,
                None => {
                    notes.sightings.forget(name);
                    return Ok(());
                }
            },
        };
        let into = if settled.reason.is_some() { FAILED } else { DONE };
        match put_away(&self.options.directory, name, stamp, into, settled.reason.as_deref()).await {
            Ok(_) => {
                notes.sightings.forget(name);
                Ok(())
            }
            Err(cause) => {
                let done = if settled.reason.is_some() { "it cannot be used" } else { "it is imported" };
                notes.unmoved.insert(name.into(), settled);
                Err(TakeFault::File(format!("{name} cannot be moved to {into}/, and {done}: {cause}")))
            }
        }
    }

    /// Imports a file; `None` when it is gone, or another one than it was.
    async fn settle(
        &self,
        name: &str,
        stamp: Stamp,
        soft: &CancellationToken,
    ) -> Result<Option<Settled>, TakeFault> {
        let ended = match self.open(name, stamp, soft, false).await {
            Ok(Some(Opened::Finished { counts, .. }))
                if counts.stored + counts.duplicate == 0 && counts.parked > 0 =>
            {
                // Not one of its rows could be stored: it is here again because something was mended.
                self.open(name, stamp, soft, true).await
            }
            opened => opened,
        };
        let ended = match ended {
            Ok(None) => return Ok(None),
            Ok(Some(Opened::Finished { at, .. })) => {
                info!(source = self.parts.state.name(), file = name, %at, "the file was imported before");
                Ok(())
            }
            Ok(Some(Opened::Ready(import))) => self.import(name, *import, soft).await,
            Err(error) => Err(error),
        };
        match ended {
            Ok(()) => {
                self.parts.state.files().done();
                Ok(Some(Settled { stamp, reason: None }))
            }
            Err(Ended::Unusable(why)) => {
                self.parts.state.files().failed();
                warn!(source = self.parts.state.name(), file = name, error = why, "the file cannot be used");
                let directory = self.options.directory.display();
                let reason = format!(
                    "{why}\n\nTo try it again, mend it or the mapping, and put it into {directory}. Rows that count already \
                     are recognised.\n"
                );
                Ok(Some(Settled { stamp, reason: Some(reason) }))
            }
            Err(Ended::Fault(fault)) => Err(fault),
        }
    }

    async fn open(
        &self,
        name: &str,
        stamp: Stamp,
        soft: &CancellationToken,
        again: bool,
    ) -> Result<Option<Opened>, Ended> {
        let path = self.options.directory.join(name);
        let (mapping, max_bytes) = (self.options.mapping.clone(), self.options.file_max_bytes);
        let opened = tokio::select! {
            opened = UsageFile::open_unattended(&path, mapping, max_bytes) => opened,
            () = soft.cancelled() => return Err(Ended::Fault(TakeFault::Stopped)),
        };
        let file = match opened {
            Ok((_, at_open)) if at_open != stamp => return Ok(None),
            Ok((file, _)) => file,
            Err(ImportError::Read { cause, .. }) if cause.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let request =
            ImportRequest { tenant: self.options.tenant, may_correct: self.options.may_correct, again };
        Ok(Some(file.import(request, &self.parts.store).await?))
    }

    async fn import(&self, name: &str, import: Import, soft: &CancellationToken) -> Result<(), Ended> {
        let (state, source) = (&self.parts.state, self.parts.state.name());
        let line = import.resumes_at().unwrap_or(1);
        info!(source, file = name, line, "the file is imported");
        let options = RunOptions {
            store: self.parts.store.clone(),
            pipeline: self.options.pipeline.clone(),
            metrics: self.parts.metrics.clone(),
            database: self.parts.database.clone(),
            clock: self.parts.clock,
            stop: soft.clone(),
            grace: self.options.grace,
        };
        state.files().reading(Some(name));
        let before = import.before();
        let mut shown = before;
        let report = import
            .run(options, |now| {
                state.rows(state.files().rows(&shown, &now.committed));
                shown = now.committed;
            })
            .await;
        state.files().reading(None);
        let Report { committed, finished: true, saved: true } = report? else {
            return Err(Ended::Fault(TakeFault::Stopped));
        };
        info!(
            source,
            file = name,
            stored = committed.stored,
            duplicate = committed.duplicate,
            parked = committed.parked,
            "the file is done"
        );
        Ok(())
    }
}

/// Why a file was not imported to its end.
enum Ended {
    /// Neither now nor later.
    Unusable(String),
    Fault(TakeFault),
}

impl From<ImportError> for Ended {
    fn from(error: ImportError) -> Self {
        match error {
            error if error.is_of_the_file() => Self::Unusable(error.to_string()),
            ImportError::Store(error) => Self::Fault(error.into()),
            ImportError::Stopped(_) => Self::Fault(TakeFault::Stopped),
            error => Self::Fault(TakeFault::File(error.to_string())),
        }
    }
}
