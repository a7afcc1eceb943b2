//! Sums as JSON numbers. They have no upper bound; JSON numbers are exact up to 2^53 for most clients.

use serde_json::Number;

use super::exact::EXACT_UP_TO;

/// A whole decimal number as a JSON number and, where clients would round it, as text too.
pub(super) fn of_text(text: &str) -> (Number, Option<String>) {
    if let Ok(number) = text.parse::<i64>() {
        return (number.into(), (number.unsigned_abs() > EXACT_UP_TO).then(|| text.to_owned()));
    }
    let rounded = text.parse().ok().and_then(Number::from_f64);
    (rounded.expect("PostgreSQL sends whole numbers of at most 30 digits"), Some(text.to_owned()))
}

/// A decimal number of few digits.
pub(super) fn of_decimal(text: &str) -> Number {
    if let Ok(whole) = text.parse::<i64>() {
        return whole.into();
    }
    let number = text.parse().ok().and_then(Number::from_f64);
    number.expect("PostgreSQL sends a number with two decimals")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_would_round_is_text_too() {
        assert_eq!(of_text("9007199254740992"), (9_007_199_254_740_992_i64.into(), None));
        assert_eq!(
            of_text("9007199254740993"),
            (9_007_199_254_740_993_i64.into(), Some("9007199254740993".into()))
        );
        let (number, exact) = of_text("100000000000000000000");
        assert_eq!((number.as_f64(), exact.as_deref()), (Some(1e20), Some("100000000000000000000")));
    }
}
