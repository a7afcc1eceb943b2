//! A door for fuzzing: bodies and query strings of requests, before anything asks the database.

use chrono::{DateTime, Utc};

use super::query::Query;
use super::{alerts, pools, sims, usage};
use crate::domain::TenantId;

/// What every handler that takes a body makes of this one, and what those that take a query make of it as text.
pub fn bodies(body: &[u8], now: DateTime<Utc>) {
    usage::read_reset(body, TenantId(1), now);
    if let Ok(value) = serde_json::from_slice(body) {
        pools::read_bodies(&value);
        sims::read_bodies(&value);
        alerts::read_thresholds(value);
    }
    if let Ok(text) = str::from_utf8(body) {
        if let Ok(mut query) = Query::parse(text) {
            query.date("start_date");
            query.month("cycle");
            query.time("since");
            query.number("limit", 1, 1_000);
            query.finish().err();
        }
        sims::read_cursors(text);
    }
    for row in crate::inventory::read_csv_lines(body).into_iter().flatten() {
        row.err();
    }
}
