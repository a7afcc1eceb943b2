//! Which instance reads a source at a time.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{Statement, Store, StoreError, statement};

static STANDING: Statement = statement!("source_lease", TEXT);
static TAKE: Statement = statement!("take_source_lease", TEXT, TEXT, FLOAT8, TIMESTAMPTZ);
static RENEW: Statement = statement!("renew_source_lease", TEXT, TEXT, FLOAT8);
static FINISH: Statement = statement!("finish_source_lease", TEXT, TEXT, TIMESTAMPTZ, FLOAT8, TEXT);

/// How a lease stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseStanding {
    /// Somebody reads.
    pub held: bool,
    /// Minute of the schedule whose run ended last, well or not.
    pub finished_slot: Option<DateTime<Utc>>,
    /// Until when the source wants to be left alone, if that lies ahead.
    pub wait_until: Option<DateTime<Utc>>,
    /// Why the last run failed.
    pub last_error: Option<String>,
}

impl LeaseStanding {
    /// How the last run ended, if any did.
    pub fn last_run(&self) -> Option<Result<(), &str>> {
        match (&self.last_error, self.finished_slot) {
            (Some(error), _) => Some(Err(error)),
            (None, Some(_)) => Some(Ok(())),
            (None, None) => None,
        }
    }
}

/// A source, and the process that asks for it.
#[derive(Clone, Debug)]
pub struct LeaseKey {
    pub source: String,
    pub holder: String,
}

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct RunEnd {
    /// The minute of the schedule that it was for; `None` leaves that minute to others.
    pub slot: Option<DateTime<Utc>>,
    /// For how long the source wants to be left alone.
    pub wait: Option<Duration>,
    pub error: Option<String>,
}

impl Store {
    /// How the lease of a source stands.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn source_lease(&self, source: &str) -> Result<LeaseStanding, StoreError> {
        let client = self.client().await?;
        let rows = STANDING.rows(&client, self.mode, &[&source]).await?;
        let standing = rows.first().map(|row| LeaseStanding {
            held: row.get("held"),
            finished_slot: row.get("finished_slot"),
            wait_until: row.get("wait_until"),
            last_error: row.get("last_error"),
        });
        Ok(standing.unwrap_or_default())
    }

    /// Takes the lease for so long if it is free; for a run of the schedule with its slot, which nobody may have ended.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn take_source_lease(
        &self,
        key: &LeaseKey,
        length: Duration,
        slot: Option<DateTime<Utc>>,
    ) -> Result<bool, StoreError> {
        let client = self.client().await?;
        let LeaseKey { source, holder } = key;
        Ok(TAKE.execute(&client, self.mode, &[source, holder, &length.as_secs_f64(), &slot]).await? > 0)
    }

    /// Keeps the lease for so long from now; false when another instance took over.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn renew_source_lease(&self, key: &LeaseKey, length: Duration) -> Result<bool, StoreError> {
        let client = self.client().await?;
        Ok(RENEW.execute(&client, self.mode, &[&key.source, &key.holder, &length.as_secs_f64()]).await? > 0)
    }

    /// Gives the lease back, if it is still one's own.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached; the lease expires by itself then.
    pub async fn finish_source_lease(&self, key: &LeaseKey, end: &RunEnd) -> Result<(), StoreError> {
        let client = self.client().await?;
        let wait = end.wait.map(|wait| wait.as_secs_f64());
        let LeaseKey { source, holder } = key;
        FINISH.execute(&client, self.mode, &[source, holder, &end.slot, &wait, &end.error]).await?;
        Ok(())
    }
}
