//! Sums beyond 2^53, which many JSON readers would round (contract §3).

use serde_json::{Map, Value};

/// Whole numbers up to here survive in every JSON reader.
pub(super) const EXACT_UP_TO: u64 = 1 << 53;

/// Puts a sum, given as decimal text, into an object: as a number, and beyond 2^53 also as text under its name and `suffix`.
pub(crate) fn put_sum(object: &mut Map<String, Value>, name: &str, suffix: &str, decimal: &str) {
    let sum: i128 = decimal.parse().unwrap_or(0);
    if sum.unsigned_abs() > EXACT_UP_TO.into() {
        object.insert(format!("{name}{suffix}"), decimal.into());
    }
    let number = match i64::try_from(sum) {
        Ok(number) => Value::from(number),
        // The nearest number that JSON readers have; the text beside it is exact.
        Err(_) => Value::from(sum as f64),
    };
    object.insert(name.into(), number);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_that_readers_would_round_also_stands_as_text() {
        let mut object = Map::new();
        put_sum(&mut object, "a", "Exact", "9007199254740992");
        put_sum(&mut object, "b", "Exact", "9007199254740993");
        put_sum(&mut object, "c", "_exact", "100000000000000000000");
        let text = Value::Object(object).to_string();
        assert_eq!(
            text,
            r#"{"a":9007199254740992,"b":9007199254740993,"bExact":"9007199254740993","c":1e+20,"c_exact":"100000000000000000000"}"#
        );
    }
}
