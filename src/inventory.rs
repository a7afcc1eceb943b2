//! SIM inventory from CSV (RFC 4180).

use std::collections::HashMap;
use std::fmt;
use std::io::Read;
use std::ops::RangeInclusive;
use std::str::FromStr;

use csv::{ReaderBuilder, StringRecord};
use thiserror::Error;

use crate::domain::Iccid;
use crate::store::sims::SimRow;

/// What a header may name.
const COLUMNS: [&str; 17] = [
    "iccid",
    "imsi",
    "msisdn",
    "carrier",
    "mccmnc",
    "rate_plan",
    "included_bytes",
    "price_per_mb",
    "currency",
    "data_limit_bytes",
    "customer_id",
    "status",
    "device_name",
    "latitude",
    "longitude",
    "location_name",
    "cycle_day",
];

/// Longest text of one field, in characters.
pub(crate) const MAX_TEXT: usize = 200;

/// The file as a whole cannot be used.
#[derive(Debug, Error)]
pub enum InventoryError {
    #[error("the header cannot be read: {0}")]
    Header(csv::Error),
    #[error("the header names no column `iccid`; it knows {}", COLUMNS.join(", "))]
    NoIccid,
    #[error("the header names `{0}`, which is no column of the inventory; it knows {list}", list = COLUMNS.join(", "))]
    UnknownColumn(String),
}

/// One row cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub struct RowFault {
    pub line: u64,
    pub problem: String,
}

impl fmt::Display for RowFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.problem)
    }
}

/// Reads rows one by one; a row at fault does not end the reading.
///
/// # Errors
/// [`InventoryError`] when the header does not fit.
pub fn read_csv<R: Read>(input: R) -> Result<impl Iterator<Item = Result<SimRow, RowFault>>, InventoryError> {
    Ok(read_csv_lines(input)?.map(|row| row.map(|(_, row)| row)))
}

/// The same with the line of each row.
///
/// # Errors
/// [`InventoryError`] when the header does not fit.
pub(crate) fn read_csv_lines<R: Read>(
    input: R,
) -> Result<impl Iterator<Item = Result<(u64, SimRow), RowFault>>, InventoryError> {
    let mut reader = ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(input);
    let mut columns = HashMap::new();
    for (at, name) in reader.headers().map_err(InventoryError::Header)?.iter().enumerate() {
        let name = name.trim_start_matches('\u{feff}');
        // The API calls `rate_plan` `ratePlan`.
        let plain = |name: &str| name.to_ascii_lowercase().replace('_', "");
        let known = COLUMNS.iter().find(|column| plain(column) == plain(name));
        columns.insert(*known.ok_or_else(|| InventoryError::UnknownColumn(name.into()))?, at);
    }
    if !columns.contains_key("iccid") {
        return Err(InventoryError::NoIccid);
    }
    Ok(reader.into_records().map(move |record| match record {
        Ok(record) => {
            let line = record.position().map_or(0, csv::Position::line);
            let row = Fields { record: &record, columns: &columns }.row();
            row.map(|row| (line, row)).map_err(|problem| RowFault { line, problem })
        }
        Err(error) => {
            let line = error.position().map_or(0, csv::Position::line);
            Err(RowFault { line, problem: "is not CSV in UTF-8".into() })
        }
    }))
}

pub(crate) fn is_digits(text: &str, length: RangeInclusive<usize>) -> bool {
    length.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

pub(crate) fn is_msisdn(text: &str) -> bool {
    is_digits(text.strip_prefix('+').unwrap_or(text), 3..=15)
}

/// At most 10 digits before and after the point.
pub(crate) fn is_price(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    is_digits(whole, 1..=10) && is_digits(fraction, 1..=10)
}

struct Fields<'r> {
    record: &'r StringRecord,
    columns: &'r HashMap<&'static str, usize>,
}

impl Fields<'_> {
    fn row(&self) -> Result<SimRow, String> {
        let iccid = self.get("iccid").ok_or("iccid is required")?;
        let row = SimRow {
            iccid: Iccid::parse(iccid).ok_or("iccid must be 10 to 20 digits")?,
            imsi: self.digits("imsi", 5..=15)?,
            msisdn: self.msisdn()?,
            carrier: self.text("carrier")?,
            mccmnc: self.digits("mccmnc", 5..=6)?,
            rate_plan: self.text("rate_plan")?,
            price_per_mb: self.price()?,
            included_bytes: self.number("included_bytes", 0, i64::MAX)?,
            currency: self.currency()?,
            data_limit_bytes: self.number("data_limit_bytes", 0, i64::MAX)?,
            customer_id: self.text("customer_id")?,
            status: self.text("status")?,
            device_name: self.text("device_name")?,
            latitude: self.number("latitude", -90.0, 90.0)?,
            longitude: self.number("longitude", -180.0, 180.0)?,
            location_name: self.text("location_name")?,
            cycle_day: self.number("cycle_day", 1, 31)?,
        };
        if row.mccmnc.is_some() && row.carrier.is_none() {
            return Err("mccmnc belongs to a carrier, and none is named".into());
        }
        Ok(row)
    }

    /// An empty field is one that is not stated.
    fn get(&self, column: &str) -> Option<&str> {
        let at = *self.columns.get(column)?;
        self.record.get(at).filter(|text| !text.is_empty())
    }

    fn text(&self, column: &str) -> Result<Option<String>, String> {
        match self.get(column) {
            Some(text) if text.chars().count() > MAX_TEXT => {
                Err(format!("{column} has more than {MAX_TEXT} characters"))
            }
            Some(text) if text.contains('\0') => Err(format!("{column} contains U+0000")),
            text => Ok(text.map(str::to_owned)),
        }
    }

    fn digits(&self, column: &str, length: RangeInclusive<usize>) -> Result<Option<String>, String> {
        match self.get(column) {
            Some(text) if !is_digits(text, length.clone()) => {
                Err(format!("{column} must be {} to {} digits", length.start(), length.end()))
            }
            text => Ok(text.map(str::to_owned)),
        }
    }

    fn msisdn(&self) -> Result<Option<String>, String> {
        match self.get("msisdn") {
            Some(text) if !is_msisdn(text) => Err("msisdn must be 3 to 15 digits".into()),
            text => Ok(text.map(str::to_owned)),
        }
    }

    /// Kept as text: a price is decimal, never a binary fraction.
    fn price(&self) -> Result<Option<String>, String> {
        match self.get("price_per_mb") {
            Some(text) if !is_price(text) => {
                Err("price_per_mb must be a decimal number such as 0.0125".into())
            }
            text => Ok(text.map(str::to_owned)),
        }
    }

    fn currency(&self) -> Result<Option<String>, String> {
        match self.get("currency") {
            Some(text) if text.len() != 3 || !text.bytes().all(|b| b.is_ascii_uppercase()) => {
                Err("currency must be an ISO 4217 code such as CHF".into())
            }
            text => Ok(text.map(str::to_owned)),
        }
    }

    fn number<T: FromStr + PartialOrd + fmt::Display>(
        &self,
        column: &str,
        least: T,
        most: T,
    ) -> Result<Option<T>, String> {
        let Some(text) = self.get(column) else { return Ok(None) };
        match text.parse::<T>() {
            Ok(number) if number >= least && number <= most => Ok(Some(number)),
            _ => Err(format!("{column} must be a number from {least} to {most}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_at_fault_is_reported_with_its_line_and_the_others_are_read() {
        let csv = "iccid,carrier,cycle_day,price_per_mb\n8941000000000000001,\"Salt, Mobile\",15,0.01\n\
                   nonsense,,,\n8941000000000000002,,32,\n8941000000000000003,,,\n";
        let rows: Vec<_> = read_csv(csv.as_bytes()).unwrap().collect();
        assert_eq!(rows[0].as_ref().unwrap().carrier.as_deref(), Some("Salt, Mobile"));
        assert_eq!(rows[0].as_ref().unwrap().cycle_day, Some(15));
        assert_eq!(rows[1].as_ref().unwrap_err().to_string(), "line 3: iccid must be 10 to 20 digits");
        assert_eq!(
            rows[2].as_ref().unwrap_err().to_string(),
            "line 4: cycle_day must be a number from 1 to 31"
        );
        assert_eq!(rows[3].as_ref().unwrap().cycle_day, None);
    }

    #[test]
    fn a_header_that_does_not_fit_is_refused() {
        let refused =
            |csv: &'static str| read_csv(csv.as_bytes()).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(refused("imsi\n1").starts_with("the header names no column `iccid`"));
        assert!(refused("iccid,colour\n").starts_with("the header names `colour`"));
    }

    #[test]
    fn nothing_is_a_number_that_is_none() {
        let csv = "iccid,latitude\n8941000000,NaN\n8941000000,inf\n8941000000,1e400\n";
        assert!(read_csv(csv.as_bytes()).unwrap().all(|row| row.is_err()));
    }
}
