//! Pools for people at a terminal.

use crate::domain::TenantId;
use crate::store::Store;
use crate::store::pool_members::{MemberOrder, PoolMember, SORTED_BY_USAGE_AT_MOST};
use crate::store::pools::Pool;

use super::amounts;
use super::failure::Failure;
use super::table::{self, printable};

const PAGE: i64 = 1_000;

pub(super) fn list(pools: &[Pool]) {
    let rows: Vec<Vec<String>> = pools
        .iter()
        .map(|pool| {
            vec![
                pool.id.to_string(),
                printable(&pool.name),
                pool.members.to_string(),
                pool.period.id.clone(),
                pool.used.clone(),
                pool.limit_bytes.to_string(),
                format!("{} %", pool.percent),
            ]
        })
        .collect();
    table::print(&["ID", "POOL", "MEMBERS", "PERIOD", "BYTES", "LIMIT", "USED"], &rows);
}

pub(super) async fn show(store: &Store, tenant: TenantId, pool: &Pool) -> Result<(), Failure> {
    let line = |what: &str, text: String| println!("{what:<12}{text}");
    let bytes = |text: &str| amounts::bytes(text.parse().unwrap_or_default());
    let last_day = pool.period.next_day.pred_opt().unwrap_or(pool.period.next_day);
    line("pool", format!("{} (id {})", printable(&pool.name), pool.id));
    line("period", format!("{}, {} to {last_day}", pool.period.id, pool.period.first_day));
    line("limit", bytes(&pool.limit_bytes.to_string()));
    line("used", format!("{}, {} % of the limit", bytes(&pool.used), pool.percent));
    line("left", bytes(&pool.remaining));
    if let Some(projected) = &pool.projected {
        line("projected", bytes(projected));
    }
    if let Some(day) = pool.exhausted_on {
        line("exhausted", day.to_string());
    }
    line("members", pool.members.to_string());
    println!();
    let of = (pool.id, &pool.period);
    let total = store.count_pool_members(tenant, of).await?;
    let order = if total > SORTED_BY_USAGE_AT_MOST { MemberOrder::Iccid } else { MemberOrder::Usage };
    let mut offset = 0;
    loop {
        let members = store.pool_members(tenant, of, order, (PAGE, offset)).await?;
        let rows: Vec<Vec<String>> = members.into_iter().map(row).collect();
        table::print(&["ICCID", "JOINED", "LEFT", "BYTES", "SHARE", "LIMIT", "USED"], &rows);
        offset += PAGE;
        if offset >= total {
            return Ok(());
        }
    }
}

fn row(member: PoolMember) -> Vec<String> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    vec![
        member.iccid,
        member.joined_on.to_string(),
        or_dash(member.left_on.map(|day| day.to_string())),
        member.used,
        format!("{} %", member.share),
        or_dash(member.limit_bytes.map(|limit| limit.to_string())),
        or_dash(member.percent.map(|percent| format!("{percent} %"))),
    ]
}
