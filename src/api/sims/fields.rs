//! The fields of a SIM as clients write them in JSON, checked one by one so that all faults are told at once.

use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::domain::Iccid;
use crate::inventory::{self, MAX_TEXT};
use crate::store::sim_changes::SimPatch;
use crate::store::sims::SimRow;

use super::super::error::{ApiError, Fault};
use super::super::exact::EXACT_UP_TO;

/// A field that is missing is not stated; null clears it. Fields that are not listed here are ignored.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase", example = json!({
    "iccid": "8941000000000000009", "imsi": "228010000000009", "msisdn": "+41790000009", "carrier": "Swisscom",
    "ratePlan": "IoT 1 GB", "dataLimitBytes": 1_073_741_824_i64, "status": "Active", "deviceName": "pump 9",
    "latitude": 47.37, "longitude": 8.54, "locationName": "Zürich", "cycleDay": 1}))]
#[allow(dead_code, reason = "only described")]
pub(super) struct SimFields {
    /// Cannot be changed.
    #[schema(pattern = "^[0-9]{10,20}$")]
    iccid: Option<String>,
    #[schema(pattern = "^[0-9]{5,15}$")]
    imsi: Option<String>,
    #[schema(pattern = r"^\+?[0-9]{3,15}$")]
    msisdn: Option<String>,
    /// Name; an unknown carrier is made.
    #[schema(min_length = 1, max_length = 200)]
    carrier: Option<String>,
    /// Home network of a carrier that is new.
    #[schema(pattern = "^[0-9]{5,6}$")]
    mccmnc: Option<String>,
    /// Name; an unknown plan is made.
    #[schema(min_length = 1, max_length = 200)]
    rate_plan: Option<String>,
    /// Price of 2^20 bytes in the tenant's currency, for a plan that is new; without it, such a plan costs nothing.
    #[schema(pattern = r"^[0-9]{1,10}(\.[0-9]{1,10})?$")]
    price_per_mb: Option<String>,
    /// Volume of a cycle that costs nothing, for a plan that is new.
    #[schema(minimum = 0)]
    included_bytes: Option<i64>,
    /// Of a billing cycle; null without a limit.
    #[schema(minimum = 0, maximum = 9_007_199_254_740_992_i64)]
    data_limit_bytes: Option<i64>,
    #[schema(min_length = 1, max_length = 200)]
    customer_id: Option<String>,
    /// Active by default; cannot be cleared.
    #[schema(min_length = 1, max_length = 200)]
    status: Option<String>,
    #[schema(min_length = 1, max_length = 200)]
    device_name: Option<String>,
    #[schema(minimum = -90, maximum = 90)]
    latitude: Option<f64>,
    #[schema(minimum = -180, maximum = 180)]
    longitude: Option<f64>,
    #[schema(min_length = 1, max_length = 200)]
    location_name: Option<String>,
    /// Day of the month on which a billing cycle begins, 1 by default; cannot be cleared.
    #[schema(minimum = 1, maximum = 31)]
    cycle_day: Option<i16>,
}

/// What a value must be.
#[derive(Clone, Copy, Debug)]
enum Rule {
    Digits(usize, usize),
    Msisdn,
    Text,
    /// Text that a SIM always has.
    OwnText,
    Price,
    Whole(i64, i64),
    /// A whole number that a SIM always has.
    OwnWhole(i64, i64),
    Degrees(f64),
}

const FIELDS: [(&str, Rule); 15] = [
    ("imsi", Rule::Digits(5, 15)),
    ("msisdn", Rule::Msisdn),
    ("carrier", Rule::Text),
    ("mccmnc", Rule::Digits(5, 6)),
    ("ratePlan", Rule::Text),
    ("pricePerMb", Rule::Price),
    ("includedBytes", Rule::Whole(0, EXACT_UP_TO as i64)),
    ("dataLimitBytes", Rule::Whole(0, EXACT_UP_TO as i64)),
    ("customerId", Rule::Text),
    ("status", Rule::OwnText),
    ("deviceName", Rule::Text),
    ("latitude", Rule::Degrees(90.0)),
    ("longitude", Rule::Degrees(180.0)),
    ("locationName", Rule::Text),
    ("cycleDay", Rule::OwnWhole(1, 31)),
];

impl Rule {
    fn accepts(self, value: &Value) -> bool {
        let text = |fits: &dyn Fn(&str) -> bool| value.as_str().is_some_and(fits);
        let cleared = value.is_null();
        match self {
            Self::Digits(least, most) => cleared || text(&|t| inventory::is_digits(t, least..=most)),
            Self::Msisdn => cleared || text(&inventory::is_msisdn),
            Self::Text => cleared || text(&is_text),
            Self::OwnText => text(&is_text),
            Self::Price => cleared || text(&inventory::is_price),
            Self::Whole(least, most) => {
                cleared || value.as_i64().is_some_and(|n| (least..=most).contains(&n))
            }
            Self::OwnWhole(least, most) => value.as_i64().is_some_and(|n| (least..=most).contains(&n)),
            Self::Degrees(most) => cleared || value.as_f64().is_some_and(|n| (-most..=most).contains(&n)),
        }
    }

    fn message(self) -> String {
        match self {
            Self::Digits(least, most) => format!("must be a text of {least} to {most} digits"),
            Self::Msisdn => "must be a text of 3 to 15 digits, with or without a +".into(),
            Self::Text | Self::OwnText => format!("must be a text of 1 to {MAX_TEXT} characters"),
            Self::Price => "must be a text with a decimal number such as 0.0125".into(),
            Self::Whole(least, most) | Self::OwnWhole(least, most) => {
                format!("must be a whole number from {least} to {most}")
            }
            Self::Degrees(most) => format!("must be a number from -{most} to {most}"),
        }
    }
}

/// Not blank, and such as PostgreSQL can store.
fn is_text(text: &str) -> bool {
    !text.trim().is_empty() && text.chars().count() <= MAX_TEXT && !text.contains('\0')
}

/// The fields that are stated, null included, and what is wrong with them.
fn checked(body: &Map<String, Value>) -> (Map<String, Value>, Vec<Fault>) {
    let (mut fields, mut faults) = (Map::new(), Vec::new());
    for (name, rule) in FIELDS {
        let Some(value) = body.get(name) else { continue };
        if rule.accepts(value) {
            fields.insert(name.into(), value.clone());
        } else {
            faults.push(Fault::new(name, rule.message()));
        }
    }
    let states = |name: &str| body.get(name).is_some_and(|value| !value.is_null());
    if states("mccmnc") && !states("carrier") {
        faults.push(Fault::new("mccmnc", "belongs to a carrier, and none is named"));
    }
    for term in ["pricePerMb", "includedBytes"] {
        if states(term) && !states("ratePlan") {
            faults.push(Fault::new(term, "belongs to a ratePlan, and none is named"));
        }
    }
    (fields, faults)
}

/// A whole SIM. For one that is there already, null and what is missing leave what is stored.
///
/// # Errors
/// Every fault.
pub(super) fn whole_sim(body: &Value) -> Result<SimRow, Vec<Fault>> {
    let body = object(body)?;
    // A SIM that is new has nothing to clear.
    let stated = body.iter().filter(|(_, value)| !value.is_null());
    let (fields, mut faults) = checked(&stated.map(|(name, value)| (name.clone(), value.clone())).collect());
    let iccid = body.get("iccid").and_then(Value::as_str).and_then(Iccid::parse);
    if iccid.is_none() {
        faults.insert(0, Fault::new("iccid", "must be a text of 10 to 20 digits"));
    }
    let Some(iccid) = iccid.filter(|_| faults.is_empty()) else { return Err(faults) };
    let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
    let whole = |name: &str| fields.get(name).and_then(Value::as_i64);
    let degrees = |name: &str| fields.get(name).and_then(Value::as_f64);
    Ok(SimRow {
        iccid,
        imsi: text("imsi"),
        msisdn: text("msisdn"),
        carrier: text("carrier"),
        mccmnc: text("mccmnc"),
        rate_plan: text("ratePlan"),
        price_per_mb: text("pricePerMb"),
        included_bytes: whole("includedBytes"),
        // Plans are in the tenant's currency.
        currency: None,
        data_limit_bytes: whole("dataLimitBytes"),
        customer_id: text("customerId"),
        status: text("status"),
        device_name: text("deviceName"),
        latitude: degrees("latitude"),
        longitude: degrees("longitude"),
        location_name: text("locationName"),
        cycle_day: whole("cycleDay").and_then(|day| i16::try_from(day).ok()),
    })
}

/// What changes in the SIM with this ICCID.
///
/// # Errors
/// Every fault.
pub(super) fn patch(body: &Value, held: &str) -> Result<SimPatch, Vec<Fault>> {
    let body = object(body)?;
    let (mut fields, mut faults) = checked(body);
    if body.get("iccid").is_some_and(|iccid| iccid != held) {
        faults.insert(0, Fault::new("iccid", "cannot be changed"));
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut text = |name: &str| fields.remove(name)?.as_str().map(str::to_owned);
    let (mccmnc, price_per_mb) = (text("mccmnc"), text("pricePerMb"));
    let included_bytes = fields.remove("includedBytes").and_then(|value| value.as_i64());
    Ok(SimPatch { fields, mccmnc, price_per_mb, included_bytes })
}

fn object(body: &Value) -> Result<&Map<String, Value>, Vec<Fault>> {
    body.as_object().ok_or_else(|| vec![Fault::new("", "must be a JSON object")])
}

/// Faults as one line of text.
pub(super) fn in_words(faults: Vec<Fault>) -> String {
    ApiError::Validation(faults).message()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_no_column_takes_is_refused() {
        for (name, bad) in [
            ("imsi", json!(22801)),
            ("msisdn", json!("+41 79")),
            ("carrier", json!(" ")),
            ("carrier", json!("a\u{0}b")),
            ("deviceName", json!("x".repeat(201))),
            ("dataLimitBytes", json!(1.5)),
            ("dataLimitBytes", json!(9_007_199_254_740_993_i64)),
            ("dataLimitBytes", json!(u64::MAX)),
            ("latitude", json!(90.1)),
            ("longitude", json!("8.5")),
            ("cycleDay", json!(0)),
            ("pricePerMb", json!("1")),
            ("mccmnc", json!("22801")),
        ] {
            let faults = whole_sim(&json!({"iccid": "8941000000", name: bad})).expect_err(name);
            assert_eq!((faults.len(), faults[0].field.as_str()), (1, name));
        }
    }

    #[test]
    fn null_clears_what_a_sim_need_not_have() {
        let cleared = patch(&json!({"imsi": null, "latitude": null}), "8941000000").expect("is taken");
        assert_eq!(Value::Object(cleared.fields), json!({"imsi": null, "latitude": null}));
        let faults = patch(&json!({"status": null, "cycleDay": null}), "8941000000").expect_err("is refused");
        assert_eq!(faults.len(), 2);
    }
}
