//! Pools of the demo's SIMs: those of a plan share a limit.

use chrono::{DateTime, TimeDelta, Utc};

use crate::app::DEFAULT_TENANT;
use crate::domain::Clock;
use crate::store::pool_members::{Joining, MEMBERS_AT_ONCE};
use crate::store::pools::{NewPool, PoolAdded};
use crate::store::sims::SimRow;
use crate::store::{Store, StoreError};

/// Name, what the plans of its SIMs begin with, the share of their limits that they may use together, in percent, and the cycle
/// day. Some are within their limit and some are not, so that there is something to see.
const POOLS: [(&str, &str, i64, i16); 3] = [
    ("Cameras", "Video", 60, 1),
    ("Payment terminals", "Payment", 9, 15),
    ("Trackers", "IoT Tracking", 35, 1),
];
/// So many of each pool, the first ones, have a limit of their own: half of that of their plan.
const LIMITED: usize = 3;

/// Makes the pools that are not there, with members from so many days ago on.
pub(super) async fn provision(store: &Store, sims: &[SimRow], days: u16) -> Result<(), StoreError> {
    let now = Clock::System.now();
    for (name, plan, share, cycle_day) in POOLS {
        let of_plan = |sim: &&SimRow| sim.rate_plan.as_deref().is_some_and(|name| name.starts_with(plan));
        let members: Vec<&SimRow> = sims.iter().filter(of_plan).collect();
        let limits: i64 = members.iter().filter_map(|sim| sim.data_limit_bytes).sum();
        let limit_bytes = limits / 100 * share;
        if limit_bytes == 0 {
            continue;
        }
        let new = NewPool { name: name.to_owned(), limit_bytes, cycle_day };
        // Whoever has it already may have changed it.
        if let PoolAdded::Id(pool) = store.add_pool(DEFAULT_TENANT.0, &new, now).await? {
            let joining: Vec<Joining> =
                members.iter().enumerate().map(|(n, sim)| joining(n, sim, now, days)).collect();
            for chunk in joining.chunks(MEMBERS_AT_ONCE) {
                store.join_pool(DEFAULT_TENANT.0, pool, chunk, now).await?;
            }
        }
    }
    Ok(())
}

fn joining(n: usize, sim: &SimRow, now: DateTime<Utc>, days: u16) -> Joining {
    let own = sim.data_limit_bytes.filter(|limit| n < LIMITED && *limit > 1).map(|limit| limit / 2);
    Joining {
        iccid: sim.iccid.clone(),
        from: Some((now - TimeDelta::days(days.into())).date_naive()),
        limit_bytes: own.map(Some),
    }
}
