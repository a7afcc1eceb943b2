use chrono::{DateTime, Days, Utc};

use crate::domain::UsageRecord;

use super::{Statement, Store, StoreError, statement};

static ENSURE_PARTITIONS: Statement = statement!("ensure_partitions", TIMESTAMPTZ, TIMESTAMPTZ);
static ENSURE_ROLLUP_PARTITIONS: Statement = statement!("ensure_rollup_partitions", DATE, DATE);
static END: Statement = statement!("partitions_end");

/// Partitions are made this far ahead: an instance that cannot make any for two months still stores everything.
const DAYS_AHEAD: u64 = 62;

impl Store {
    /// Makes the monthly partitions from `max_age_days` ago to two months ahead. Returns how many were missing.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached or the role may not create tables.
    pub async fn ensure_partitions(&self, now: DateTime<Utc>, max_age_days: u64) -> Result<i32, StoreError> {
        let earliest = now.checked_sub_days(Days::new(max_age_days + 1)).unwrap_or(DateTime::UNIX_EPOCH);
        let latest = now.checked_add_days(Days::new(DAYS_AHEAD)).unwrap_or(now);
        self.make_partitions(earliest, latest).await
    }

    /// Makes the monthly partitions of the days of SIMs two months ahead, so that no roll-up has to at midnight. Returns how
    /// many were missing.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached or the role may not create tables.
    pub async fn ensure_rollup_partitions(&self, now: DateTime<Utc>) -> Result<i32, StoreError> {
        let today = now.date_naive();
        let last = today.checked_add_days(Days::new(DAYS_AHEAD)).unwrap_or(today);
        self.in_time(async |client| {
            let rows = ENSURE_ROLLUP_PARTITIONS.rows(&*client, self.mode, &[&today, &last]).await?;
            Ok(rows[0].get(0))
        })
        .await
    }

    /// When the last partition ends; the epoch without any.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn partitions_end(&self) -> Result<DateTime<Utc>, StoreError> {
        let client = self.client().await?;
        let rows = END.rows(&client, self.mode, &[]).await?;
        let ends_at: Option<i64> = rows[0].get("ends_at");
        Ok(ends_at.and_then(|at| DateTime::from_timestamp(at, 0)).unwrap_or(DateTime::UNIX_EPOCH))
    }

    pub(super) async fn ensure_partitions_for<'r>(
        &self,
        records: impl Iterator<Item = &'r UsageRecord> + Clone,
    ) -> Result<(), StoreError> {
        let earliest = records.clone().map(|record| record.period_start).min();
        let latest = records.map(|record| record.period_start).max();
        if let (Some(earliest), Some(latest)) = (earliest, latest) {
            self.make_partitions(earliest, latest).await?;
        }
        Ok(())
    }

    async fn make_partitions(
        &self,
        earliest: DateTime<Utc>,
        latest: DateTime<Utc>,
    ) -> Result<i32, StoreError> {
        self.in_time(async |client| {
            let rows = ENSURE_PARTITIONS.rows(&*client, self.mode, &[&earliest, &latest]).await?;
            Ok(rows[0].get(0))
        })
        .await
    }
}
