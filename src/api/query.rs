//! Query strings and paths: repeated keys, dates, bounded numbers; all faults at once.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use chrono::{DateTime, NaiveDate, Utc};

use super::ApiState;
use super::error::{ApiError, Fault};

/// Pairs of a query string at most; a filter of a whole page of SIMs fits.
const PAIRS_AT_MOST: usize = 1_000;

/// Extractor: a query string, read parameter by parameter. Call [`Query::finish`] after the last one.
#[derive(Debug, Default)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
    faults: Vec<Fault>,
}

impl FromRequestParts<ApiState> for Query {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &ApiState) -> Result<Self, ApiError> {
        Self::parse(parts.uri.query().unwrap_or(""))
    }
}

fn owned((name, value): (std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>)) -> (String, String) {
    (name.into_owned(), value.into_owned())
}

impl Query {
    pub(super) fn parse(text: &str) -> Result<Self, ApiError> {
        let pairs: Vec<(String, String)> =
            form_urlencoded::parse(text.as_bytes()).take(PAIRS_AT_MOST + 1).map(owned).collect();
        if pairs.len() > PAIRS_AT_MOST {
            return Err(ApiError::invalid("", format!("more than {PAIRS_AT_MOST} parameters")));
        }
        // PostgreSQL has no text with a zero in it.
        if let Some((name, _)) =
            pairs.iter().find(|(name, value)| name.contains('\0') || value.contains('\0'))
        {
            return Err(ApiError::invalid(name.replace('\0', ""), "must not contain a zero character"));
        }
        Ok(Self { pairs, faults: Vec::new() })
    }

    /// The last value of a parameter; an empty one counts as left out.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let last = self.pairs.iter().rev().find(|(key, _)| key == name);
        last.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Every value of a parameter that is repeated, without empty ones and repetitions, sorted.
    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        let values = self.pairs.iter().filter(|(key, _)| key == name).map(|(_, value)| value.trim());
        let mut values: Vec<String> = values.filter(|value| !value.is_empty()).map(str::to_owned).collect();
        values.sort_unstable();
        values.dedup();
        values
    }

    /// `YYYY-MM-DD`.
    pub(crate) fn date(&mut self, name: &'static str) -> Option<NaiveDate> {
        self.parsed(name, "must be a date such as 2026-11-21", |text| {
            // chrono alone would take +2026-1-2 too.
            let form = text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
            form.then(|| text.parse().ok()).flatten()
        })
    }

    /// `YYYY-MM`, as its first day; `current` counts as left out.
    pub(crate) fn month(&mut self, name: &'static str) -> Option<NaiveDate> {
        if self.text(name) == Some("current") {
            return None;
        }
        self.parsed(name, "must be current, or a month such as 2026-11", month)
    }

    /// RFC 3339 with a zone.
    pub(crate) fn time(&mut self, name: &'static str) -> Option<DateTime<Utc>> {
        self.parsed(name, "must be a time such as 2026-11-21T12:00:00Z", |text| {
            DateTime::parse_from_rfc3339(text).ok().map(|time| time.with_timezone(&Utc))
        })
    }

    /// A whole number within bounds.
    pub(crate) fn number(&mut self, name: &'static str, least: i64, most: i64) -> Option<i64> {
        let message = format!("must be a whole number from {least} to {most}");
        self.parsed(name, &message, |text| {
            // A leading plus is no JSON number, and OpenAPI knows no others.
            let number = (!text.starts_with('+')).then(|| text.parse().ok()).flatten();
            number.filter(|number| (least..=most).contains(number))
        })
    }

    /// One of some words.
    pub(crate) fn choice<T: Copy>(&mut self, name: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let words = choices.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        self.parsed(name, &format!("must be one of {words}"), |text| {
            choices.iter().find(|(word, _)| *word == text).map(|(_, choice)| *choice)
        })
    }

    /// Notes what is wrong beyond single parameters.
    pub(crate) fn fault(&mut self, field: &'static str, message: impl Into<String>) {
        self.faults.push(Fault::new(field, message));
    }

    /// # Errors
    /// [`ApiError::Validation`] with everything that was wrong.
    pub(crate) fn finish(self) -> Result<(), ApiError> {
        if self.faults.is_empty() { Ok(()) } else { Err(ApiError::Validation(self.faults)) }
    }

    fn parsed<T>(
        &mut self,
        name: &'static str,
        message: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(name)?;
        let value = parse(text);
        if value.is_none() {
            self.faults.push(Fault::new(name, message));
        }
        value
    }
}

fn month(text: &str) -> Option<NaiveDate> {
    let form = text.len() == 7 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    let day: NaiveDate = form.then(|| format!("{text}-01").parse().ok())??;
    // So that what comes before and after it has four digits too.
    ("1000-01".."9999-01").contains(&text).then_some(day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_four_digits_and_two() {
        assert_eq!(month("2026-11"), NaiveDate::from_ymd_opt(2026, 11, 1));
        for bad in ["2026-13", "2026-1", "26-11", "2026/11", "0000-01", "9999-12", "+202-11", "2026-11-01"] {
            assert_eq!(month(bad), None, "{bad}");
        }
    }

    fn query(pairs: &[(&str, &str)]) -> Query {
        let pairs = pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Query { pairs, faults: Vec::new() }
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let mut query =
            query(&[("a", "2026-2-1"), ("b", "11"), ("c", "yearly"), ("d", ""), ("e", "2026-02-30")]);
        assert_eq!(query.date("a"), None);
        assert_eq!(query.number("b", 1, 10), None);
        assert_eq!(query.choice("c", &[("daily", 1), ("weekly", 2)]), None);
        assert_eq!((query.date("d"), query.date("e"), query.date("f")), (None, None, None));
        let Err(ApiError::Validation(faults)) = query.finish() else { panic!("it is faulty") };
        let fields: Vec<&str> = faults.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(fields, ["a", "b", "c", "e"]);
        assert_eq!(faults[2].message, "must be one of daily, weekly");
    }

    /// Catches trimming: a tab is no number, and not nothing either.
    #[test]
    fn blanks_and_signs_are_no_numbers() {
        for wrong in ["\t", " ", " 5", "5 ", "+5", "5.0", "0x5"] {
            let mut query = query(&[("n", wrong)]);
            assert_eq!(query.number("n", -9, 9), None, "{wrong:?}");
            assert!(query.finish().is_err(), "{wrong:?}");
        }
        assert_eq!(query(&[("n", "-5")]).number("n", -9, 9), Some(-5));
    }

    #[test]
    fn a_repeated_key_is_a_list() {
        let query = query(&[("imsi", "2"), ("imsi", "1"), ("imsi", ""), ("imsi", "2")]);
        assert_eq!(query.all("imsi"), ["1", "2"]);
        assert_eq!(query.text("imsi"), Some("2"));
    }
}
