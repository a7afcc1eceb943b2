//! Instances that read a source one at a time: which of them, and when.
//!
//! A run is due once in each slot of the clock. Whoever takes the lease makes it, and keeps the lease alive meanwhile; when it
//! dies, another one takes over as soon as the lease has expired.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::store::Store;
use crate::store::source_leases::{LeaseKey, LeaseStanding};

/// How often it is looked whether a run is due: two small statements.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A lease that is not kept is free after so long: with the look above, another instance reads within 10 seconds.
pub(super) const LEASE: Duration = Duration::from_secs(8);
const RENEW_EVERY: Duration = Duration::from_secs(2);

/// Renews the lease until another instance has it. An outage of the database is no reason to give up: nobody else can take it
/// meanwhile, and nothing can be stored.
pub(super) async fn lease_is_lost(store: &Store, lease: &LeaseKey) {
    loop {
        tokio::time::sleep(RENEW_EVERY).await;
        if let Ok(false) = store.renew_source_lease(lease, LEASE).await {
            return;
        }
    }
}

/// Whether it is worth asking for the lease, which alone decides.
pub(super) fn is_due(standing: &LeaseStanding, slot: DateTime<Utc>) -> bool {
    let is_open = |finished: DateTime<Utc>| finished < slot || finished > slot + TimeDelta::hours(1);
    !standing.held && standing.wait_until.is_none() && standing.finished_slot.is_none_or(is_open)
}

/// The slot of the schedule that `now` belongs to, by its beginning.
pub(super) fn slot(now: DateTime<Utc>, interval_seconds: i64) -> DateTime<Utc> {
    let seconds = interval_seconds.max(1);
    DateTime::from_timestamp(now.timestamp().div_euclid(seconds) * seconds, 0).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_belong_to_the_times_that_the_interval_divides() {
        let slot = |text: &str, interval| {
            let now: DateTime<Utc> = format!("2026-03-10T{text}Z").parse().expect("a time");
            super::slot(now, interval).format("%H:%M:%S").to_string()
        };
        assert_eq!(slot("12:04:59", 300), "12:00:00");
        assert_eq!(slot("12:05:00", 300), "12:05:00");
        assert_eq!(slot("12:05:59", 120), "12:04:00");
        assert_eq!(slot("12:05:59", 60), "12:05:00");
        assert_eq!(slot("12:05:59", 5), "12:05:55");
        assert_eq!(slot("12:05:59", 0), "12:05:59");
    }
}
