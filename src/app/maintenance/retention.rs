//! Gives up what is older than the settings say.

use std::time::Duration;

use chrono::{DateTime, Days, Utc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::domain::{Clock, Setting, settings};
use crate::metrics::RetentionMetrics;
use crate::store::retention::{FloorAdvance, RETENTION_CHUNK};
use crate::store::{Store, StoreError};

use super::{HOURLY, duty};

/// After somebody was in the way of the floor. Each attempt may hold up writers for some seconds.
const FLOOR_BUSY: Duration = Duration::from_secs(300);
/// Chunks of one kind in one round; what is left is for the next round.
const CHUNKS: u32 = 20;
/// Writers and the disk get a breath between two chunks.
const PAUSE: Duration = Duration::from_millis(100);

/// When what is due next.
pub(super) struct Schedule {
    floor: Instant,
    keys: Instant,
    quarantine: Instant,
    sessions: Instant,
}

/// What a round works on.
pub(super) struct Retention<'a> {
    pub(super) store: &'a Store,
    pub(super) clock: Clock,
    pub(super) max_age_days: u64,
    pub(super) metrics: &'a RetentionMetrics,
}

/// What is deleted in chunks.
#[derive(Clone, Copy)]
enum Kind {
    Keys,
    Quarantine,
    Sessions,
}

impl Schedule {
    pub(super) fn starting(now: Instant) -> Self {
        Self { floor: now, keys: now, quarantine: now, sessions: now }
    }

    /// Does what is due. Whatever fails is told and due again in the next round.
    pub(super) async fn round(&mut self, work: &Retention<'_>, stop: &CancellationToken) {
        if self.floor <= Instant::now()
            && let Some(again) = duty(work.store, "give up old records", work.floor()).await
        {
            self.floor = Instant::now() + again;
        }
        if self.keys <= Instant::now()
            && let Some(again) = duty(work.store, "forget old keys", work.chunks(Kind::Keys, stop)).await
        {
            self.keys = Instant::now() + again;
        }
        let (entries, sessions) = (work.chunks(Kind::Quarantine, stop), work.chunks(Kind::Sessions, stop));
        if self.quarantine <= Instant::now()
            && let Some(again) = duty(work.store, "delete old entries of the quarantine", entries).await
        {
            self.quarantine = Instant::now() + again;
        }
        if self.sessions <= Instant::now()
            && let Some(again) = duty(work.store, "delete expired sessions of the dashboard", sessions).await
        {
            self.sessions = Instant::now() + again;
        }
    }
}

impl Retention<'_> {
    /// Raises the floor of raw records; returns after what time to look again.
    async fn floor(&self) -> Result<Duration, StoreError> {
        let raw_days = days(self.store.setting(Setting::RawRetention).await?);
        let mut again = HOURLY;
        if raw_days > 0 {
            match self.store.advance_raw_floor(self.clock.now(), raw_days).await? {
                FloorAdvance::NothingDue => {}
                FloorAdvance::WaitsForRollup => {
                    info!("old records are kept until they are rolled up");
                    again = Duration::ZERO;
                }
                FloorAdvance::WaitsForArchive => {
                    info!(
                        "old records are kept until `simbridge archive create` has written them into files"
                    );
                }
                FloorAdvance::Busy => {
                    info!("old records are kept while somebody reads records or changes the inventory");
                    again = FLOOR_BUSY;
                }
                FloorAdvance::Done { floor, dropped } => {
                    info!(%floor, dropped, "raw records from before the floor are gone, rollups stay");
                    self.metrics.dropped_partitions.inc_by(u64::try_from(dropped).unwrap_or(0));
                }
            }
        }
        // Another instance may have raised it.
        if let Some(floor) = self.store.raw_floor().await? {
            self.metrics.raw_floor.set(floor.timestamp());
        }
        Ok(again)
    }

    /// Deletes some chunks; returns after what time to go on.
    async fn chunks(&self, kind: Kind, stop: &CancellationToken) -> Result<Duration, StoreError> {
        let Some(before) = self.before(kind).await? else { return Ok(HOURLY) };
        let mut total = 0;
        let mut again = Duration::ZERO;
        for _ in 0..CHUNKS {
            let deleted = match kind {
                Kind::Keys => self.store.delete_old_keys(before).await,
                Kind::Quarantine => self.store.delete_old_quarantine(before).await,
                Kind::Sessions => self.store.delete_expired_sessions(before).await,
            };
            // What is gone is told also when the next chunk fails.
            let deleted = deleted.inspect_err(|_| self.deleted(kind, total))?;
            total += u64::try_from(deleted.unwrap_or(0)).unwrap_or(0);
            // Less than a chunk was left, or another instance is at it.
            if deleted.is_none_or(|deleted| deleted < RETENTION_CHUNK) {
                again = HOURLY;
                break;
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
        self.deleted(kind, total);
        Ok(again)
    }

    /// What is older goes; `None` keeps all.
    async fn before(&self, kind: Kind) -> Result<Option<DateTime<Utc>>, StoreError> {
        let kept = match kind {
            Kind::Sessions => return Ok(Some(self.clock.now())),
            Kind::Keys => settings::key_days(
                self.store.setting(Setting::KeyRetention).await?,
                self.store.setting(Setting::RawRetention).await?,
                i64::try_from(self.max_age_days).unwrap_or(i64::MAX),
            ),
            Kind::Quarantine => {
                Some(self.store.setting(Setting::QuarantineRetention).await?).filter(|days| *days > 0)
            }
        };
        Ok(kept.and_then(|days| self.clock.now().checked_sub_days(Days::new(u64::try_from(days).ok()?))))
    }

    fn deleted(&self, kind: Kind, rows: u64) {
        if rows == 0 {
            return;
        }
        match kind {
            Kind::Keys => {
                info!(rows, "keys of records that are gone were forgotten");
                self.metrics.deleted_keys.inc_by(rows);
            }
            Kind::Quarantine => {
                info!(rows, "old entries of the quarantine were deleted");
                self.metrics.deleted_quarantine.inc_by(rows);
            }
            Kind::Sessions => debug!(rows, "expired sessions of the dashboard were deleted"),
        }
    }
}

/// Settings of days lie within a hundred years.
fn days(setting: i64) -> i32 {
    i32::try_from(setting).unwrap_or(i32::MAX)
}
