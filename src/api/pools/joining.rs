//! SIMs that are to be members, as clients write them: every fault of every one at once.

use std::collections::HashMap;

use chrono::NaiveDate;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::domain::Iccid;
use crate::store::accounts::ACCOUNT_MAX_CHARS;
use crate::store::pool_members::{Joined, Joining, MEMBERS_AT_ONCE};

use super::super::error::{ApiError, CONFLICT, Fault};
use super::fields::{limit, limit_message};

const SOURCE_MAX_CHARS: usize = 40;

/// SIMs that are to be members.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase", example = json!({"members": [
    {"sim": "8941000000000000009"}, {"sim": "anna", "limitBytes": 1_073_741_824_i64, "from": "2026-11-01"}], "source": "office-vpn"}))]
#[allow(dead_code, reason = "only described")]
pub(super) struct NewMembers {
    /// No SIM twice.
    #[schema(min_items = 1, max_items = 1000)]
    members: Vec<NewMember>,
    /// Name of the source whose accounts are meant; without it those of every source.
    #[schema(max_length = 40)]
    source: Option<String>,
}

#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
#[allow(dead_code, reason = "only described")]
pub(super) struct NewMember {
    /// simId, ICCID, IMSI, MSISDN, or an account that stands for a SIM.
    #[schema(min_length = 1, max_length = 253)]
    sim: String,
    /// What this member alone may use of the pool in a period; null takes such a limit away.
    #[schema(minimum = 1, maximum = 9_007_199_254_740_992_i64)]
    limit_bytes: Option<i64>,
    /// The first day that counts, in the tenant's time zone, today by default; of no effect for one that is a member.
    #[schema(format = Date)]
    from: Option<String>,
}

/// A SIM by the name that the client knows it by.
#[derive(Debug, PartialEq)]
pub(super) struct Named {
    pub(super) sim: String,
    from: Option<NaiveDate>,
    limit_bytes: Option<Option<i64>>,
}

/// The members that are named, and the source of their accounts.
///
/// # Errors
/// [`ApiError::Validation`] with every fault.
pub(super) fn named(body: &Value) -> Result<(Vec<Named>, String), ApiError> {
    let mut faults = Vec::new();
    let source = match body.get("source") {
        None | Some(Value::Null) => String::new(),
        Some(value) => text(value, SOURCE_MAX_CHARS).unwrap_or_else(|| {
            faults
                .push(Fault::new("source", format!("must be a text of 1 to {SOURCE_MAX_CHARS} characters")));
            String::new()
        }),
    };
    let members = body.get("members").and_then(Value::as_array);
    let Some(members) = members.filter(|members| (1..=MEMBERS_AT_ONCE).contains(&members.len())) else {
        faults.push(Fault::new("members", format!("must be an array of 1 to {MEMBERS_AT_ONCE} members")));
        return Err(ApiError::Validation(faults));
    };
    let named: Vec<Named> =
        members.iter().enumerate().filter_map(|(n, member)| one(n, member, &mut faults)).collect();
    if faults.is_empty() { Ok((named, source)) } else { Err(ApiError::Validation(faults)) }
}

fn one(n: usize, member: &Value, faults: &mut Vec<Fault>) -> Option<Named> {
    let mut fault = |field: &str, message: String| {
        faults.push(Fault::new(format!("members[{n}]{field}"), message));
        None::<Named>
    };
    let Some(member) = member.as_object() else { return fault("", "must be an object".into()) };
    let Some(sim) = member.get("sim").and_then(|value| text(value, ACCOUNT_MAX_CHARS)) else {
        return fault(".sim", format!("must be a text of 1 to {ACCOUNT_MAX_CHARS} characters"));
    };
    let Some(limit_bytes) = stated_limit(member) else { return fault(".limitBytes", limit_message()) };
    let from = match member.get("from") {
        None | Some(Value::Null) => None,
        Some(value) => match value.as_str().and_then(day) {
            Some(day) => Some(day),
            None => return fault(".from", "must be a date such as 2026-11-21".into()),
        },
    };
    Some(Named { sim, from, limit_bytes })
}

/// `Some(None)` when nothing is stated; `None` when it is at fault.
pub(super) fn stated_limit(member: &Map<String, Value>) -> Option<Option<Option<i64>>> {
    match member.get("limitBytes") {
        None => Some(None),
        Some(Value::Null) => Some(Some(None)),
        Some(value) => limit(value).map(|limit| Some(Some(limit))),
    }
}

/// With the SIMs for which the names stand.
///
/// # Errors
/// [`ApiError::Validation`]: a name that stands for none, or a SIM that is named twice.
pub(super) fn joining(named: &[Named], found: &HashMap<String, Iccid>) -> Result<Vec<Joining>, ApiError> {
    let mut faults = Vec::new();
    let mut places: HashMap<&Iccid, usize> = HashMap::new();
    let mut sims = Vec::with_capacity(named.len());
    for (n, Named { sim, from, limit_bytes }) in named.iter().enumerate() {
        match found.get(sim) {
            None => faults.push(unknown(n)),
            Some(iccid) => match places.insert(iccid, n) {
                Some(first) => faults.push(Fault::new(
                    format!("members[{n}].sim"),
                    format!("is the same SIM as members[{first}].sim"),
                )),
                None => {
                    sims.push(Joining { iccid: iccid.clone(), from: *from, limit_bytes: *limit_bytes });
                }
            },
        }
    }
    if faults.is_empty() { Ok(sims) } else { Err(ApiError::Validation(faults)) }
}

/// What is answered when some of them cannot join: then none does.
pub(super) fn refusal(outcomes: &[(usize, Joined)]) -> Option<ApiError> {
    let (mut faults, mut taken) = (Vec::new(), None);
    for (n, outcome) in outcomes {
        match outcome {
            Joined::Unknown => faults.push(unknown(*n)),
            Joined::Future => {
                faults.push(Fault::new(format!("members[{n}].from"), "must not be after today"));
            }
            Joined::Taken { pool, until } => {
                taken.get_or_insert_with(|| taken_words(*n, pool, *until));
            }
            Joined::Added | Joined::Changed | Joined::Kept => {}
        }
    }
    if !faults.is_empty() {
        return Some(ApiError::Validation(faults));
    }
    taken.map(|message| ApiError::Conflict { code: CONFLICT, message })
}

fn taken_words(n: usize, pool: &str, until: Option<NaiveDate>) -> String {
    match until {
        None => format!("members[{n}]: the SIM is in the pool `{pool}`; remove it there first"),
        Some(day) => {
            format!("members[{n}]: the SIM was in the pool `{pool}` until {day}; let it join from then on")
        }
    }
}

fn unknown(n: usize) -> Fault {
    Fault::new(format!("members[{n}].sim"), "stands for no SIM, or for more than one")
}

/// Such as PostgreSQL can store.
fn text(value: &Value, max_chars: usize) -> Option<String> {
    let text = value.as_str()?;
    let fits = (1..=max_chars).contains(&text.chars().count()) && !text.contains('\0');
    fits.then(|| text.to_owned())
}

fn day(text: &str) -> Option<NaiveDate> {
    let form = text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    form.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_fault_of_every_member_is_told_at_once() {
        let body = json!({"source": "", "members": [
            {"sim": "a", "limitBytes": null, "from": "2026-11-01"}, {"sim": ""}, {"sim": "b", "limitBytes": 0},
            {"sim": "c", "from": "2026-2-1"}, 7]});
        let Err(ApiError::Validation(faults)) = named(&body) else { panic!("it is faulty") };
        let fields: Vec<&str> = faults.iter().map(|fault| fault.field.as_str()).collect();
        let expected = ["source", "members[1].sim", "members[2].limitBytes", "members[3].from", "members[4]"];
        assert_eq!(fields, expected);
        for bad in [json!({}), json!({"members": []}), json!({"members": vec![json!({"sim": "a"}); 1_001]})] {
            assert!(named(&bad).is_err());
        }
    }

    #[test]
    fn a_limit_may_be_stated_taken_away_or_left() {
        let body = json!({"members": [{"sim": "a"}, {"sim": "b", "limitBytes": null}, {"sim": "c", "limitBytes": 5}]});
        let (named, source) = named(&body).expect("is taken");
        let limits: Vec<_> = named.iter().map(|named| named.limit_bytes).collect();
        assert_eq!((limits, source.as_str()), (vec![None, Some(None), Some(Some(5))], ""));
    }
}
