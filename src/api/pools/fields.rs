//! The fields of a pool as clients write them, checked one by one so that all faults are told at once.

use serde_json::Value;
use utoipa::ToSchema;

use crate::store::pools::{NAME_MAX_CHARS, NewPool, PoolPatch};

use super::super::error::Fault;
use super::super::exact::EXACT_UP_TO;

/// What is said of a pool. Fields that are not listed here are ignored.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase", example = json!({
    "name": "Trucks north", "limitBytes": 107_374_182_400_i64, "cycleDay": 1}))]
#[allow(dead_code, reason = "only described")]
pub(super) struct PoolFields {
    /// Unique within the tenant.
    #[schema(min_length = 1, max_length = 100)]
    name: Option<String>,
    /// Of all members together, in one period.
    #[schema(minimum = 1, maximum = 9_007_199_254_740_992_i64)]
    limit_bytes: Option<i64>,
    /// Day of the month on which a period begins, 1 by default; the last day in shorter months.
    #[schema(minimum = 1, maximum = 31)]
    cycle_day: Option<i16>,
}

/// # Errors
/// Every fault of it.
pub(super) fn new_pool(body: &Value) -> Result<NewPool, Vec<Fault>> {
    let (stated, mut faults) = stated(body)?;
    for required in ["name", "limitBytes"] {
        if body.get(required).is_none() {
            faults.push(Fault::new(required, "is required"));
        }
    }
    match (stated.name, stated.limit_bytes) {
        (Some(name), Some(limit_bytes)) if faults.is_empty() => {
            Ok(NewPool { name, limit_bytes, cycle_day: stated.cycle_day.unwrap_or(1) })
        }
        _ => Err(faults),
    }
}

/// # Errors
/// Every fault of it.
pub(super) fn patch(body: &Value) -> Result<PoolPatch, Vec<Fault>> {
    let (patch, faults) = stated(body)?;
    if faults.is_empty() { Ok(patch) } else { Err(faults) }
}

/// What is stated, as far as it is good, and the faults of the rest.
fn stated(body: &Value) -> Result<(PoolPatch, Vec<Fault>), Vec<Fault>> {
    let Some(body) = body.as_object() else { return Err(vec![Fault::new("", "must be an object")]) };
    let mut patch = PoolPatch::default();
    let mut faults = Vec::new();
    if let Some(value) = body.get("name") {
        patch.name = value.as_str().filter(|name| is_name(name)).map(str::to_owned);
        if patch.name.is_none() {
            faults.push(Fault::new("name", format!("must be a text of 1 to {NAME_MAX_CHARS} characters")));
        }
    }
    if let Some(value) = body.get("limitBytes") {
        patch.limit_bytes = limit(value);
        if patch.limit_bytes.is_none() {
            faults.push(Fault::new("limitBytes", limit_message()));
        }
    }
    if let Some(value) = body.get("cycleDay") {
        let day = value.as_i64().and_then(|day| i16::try_from(day).ok());
        patch.cycle_day = day.filter(|day| (1..=31).contains(day));
        if patch.cycle_day.is_none() {
            faults.push(Fault::new("cycleDay", "must be a whole number from 1 to 31"));
        }
    }
    Ok((patch, faults))
}

/// Bytes that a JSON number holds exactly.
pub(super) fn limit(value: &Value) -> Option<i64> {
    value.as_i64().filter(|limit| (1..=EXACT_UP_TO as i64).contains(limit))
}

pub(super) fn limit_message() -> String {
    format!("must be a whole number from 1 to {EXACT_UP_TO}")
}

/// Not blank, and such as PostgreSQL can store.
fn is_name(name: &str) -> bool {
    !name.trim().is_empty() && name.chars().count() <= NAME_MAX_CHARS && !name.contains('\0')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_fault_of_a_pool_is_told_at_once() {
        let fields = |body: Value| -> Vec<String> {
            new_pool(&body).expect_err("is refused").into_iter().map(|fault| fault.field).collect()
        };
        assert_eq!(fields(json!({})), ["name", "limitBytes"]);
        assert_eq!(fields(json!([])), [""]);
        assert_eq!(fields(json!({"name": "a", "cycleDay": 0})), ["cycleDay", "limitBytes"]);
        assert_eq!(
            fields(json!({"name": " ", "limitBytes": 0, "cycleDay": 32})),
            ["name", "limitBytes", "cycleDay"]
        );
        for bad in [json!("1"), json!(1.5), json!(9_007_199_254_740_993_i64), json!(null), json!(-1)] {
            assert_eq!(fields(json!({"name": "a", "limitBytes": bad})), ["limitBytes"], "{bad}");
        }
        let pool = new_pool(&json!({"name": "a", "limitBytes": 9_007_199_254_740_992_i64, "more": 1}));
        assert_eq!(pool.map(|pool| (pool.limit_bytes, pool.cycle_day)), Ok((9_007_199_254_740_992, 1)));
    }
}
