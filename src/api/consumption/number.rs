//! Sums that may leave the integers of a JSON reader.

use serde::{Serialize, Serializer};

use super::super::exact::EXACT_UP_TO;

/// A whole number from PostgreSQL: a JSON number always, the nearest one where it is too large.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Whole(pub(super) String);

impl Whole {
    /// The digits, where the number alone would not tell them.
    pub(super) fn exact(&self) -> Option<String> {
        let exact = self.0.parse::<i64>().is_ok_and(|number| number.unsigned_abs() <= EXACT_UP_TO);
        (!exact).then(|| self.0.clone())
    }
}

impl Serialize for Whole {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.0.parse::<i64>(), self.0.parse::<f64>()) {
            (Ok(number), _) => serializer.serialize_i64(number),
            (_, Ok(nearest)) => serializer.serialize_f64(nearest),
            _ => Err(serde::ser::Error::custom("not a number")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_go_along_only_where_a_number_loses_some() {
        let shown = |text: &str| {
            let whole = Whole(text.into());
            (serde_json::to_string(&whole).expect("a number"), whole.exact())
        };
        assert_eq!(shown("0"), ("0".into(), None));
        assert_eq!(shown("9007199254740992"), ("9007199254740992".into(), None));
        assert_eq!(shown("9007199254740993"), ("9007199254740993".into(), Some("9007199254740993".into())));
        let large = "100000000000000000000000000000";
        // Versions of the library write the exponent with and without a sign.
        let (number, exact) = shown(large);
        assert_eq!((number.parse(), exact), (Ok(1e29), Some(large.into())));
    }
}
