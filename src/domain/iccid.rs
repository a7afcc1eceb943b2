use std::fmt;

/// The number printed on a SIM card: 10 to 20 decimal digits (ITU-T E.118 allows 19 to 20; older cards are shorter).
///
/// The check digit is not verified: carriers hand out numbers with and without it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Iccid(Box<str>);

impl Iccid {
    /// `None` when `text` is not 10 to 20 ASCII digits.
    pub fn parse(text: &str) -> Option<Self> {
        let valid = (10..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        valid.then(|| Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Iccid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_iccid_has_10_to_20_digits_and_nothing_else() {
        for good in ["8941000000", "8941000000000000001", "89410000000000000012"] {
            assert_eq!(Iccid::parse(good).map(|i| i.to_string()).as_deref(), Some(good));
        }
        for bad in ["", "894100000", "894100000000000000123", "8941-00000", "٨٩٤١٠٠٠٠٠٠", " 8941000000"]
        {
            assert_eq!(Iccid::parse(bad), None, "{bad}");
        }
    }
}
