//! What the columns or pointers of another system's file stand for.

use chrono::{DateTime, Utc};

use crate::source::amount::Unit;

use super::columns::HeaderFault;
use super::times::TimeFormat;

/// Column names that a message repeats.
const NAMES_SHOWN: usize = 30;
/// Characters of each.
const NAME_SHOWN: usize = 40;

/// How the rows of a file are told from each other and taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Places are names of the header; without one they are the columns' numbers, from 1 on.
    Csv { delimiter: u8, header: bool },
    /// Places are JSON pointers (RFC 6901).
    Ndjson,
}

/// How files of another system say what a usage record says.
#[derive(Clone, Debug)]
pub struct FileMapping {
    pub name: String,
    pub layout: Layout,
    /// Lines that begin like one of these are passed over.
    pub ignore_lines: Vec<String>,
    /// What the numbers in `fields` stand for.
    pub places: Places,
    pub fields: FieldPlaces,
    pub times: TimeFormat,
    pub unit: Unit,
    /// `1,5` is one and a half.
    pub decimal_comma: bool,
}

/// Names of columns, or pointers, each once.
#[derive(Clone, Debug, Default)]
pub struct Places(Vec<String>);

/// Which place of a row holds each field.
#[derive(Clone, Debug)]
pub struct FieldPlaces {
    /// What tells a record from all others of its SIM; empty for the whole row.
    pub record_id: Vec<usize>,
    pub sim: SimPlace,
    /// Texts that are joined by a blank, such as a day and a time.
    pub start: Vec<usize>,
    pub end: EndPlace,
    pub total: Option<Value>,
    pub upload: Option<Value>,
    pub download: Option<Value>,
    pub sms: Option<Value>,
    pub voice: Option<Value>,
    pub mccmnc: Option<Value>,
    pub source: Option<Value>,
    pub corrects: Option<Value>,
}

/// Where the SIM stands.
#[derive(Clone, Debug)]
pub enum SimPlace {
    Iccid(Value),
    /// An IMSI, an MSISDN, or what `accounts set` said of it.
    Account(Value),
}

/// Where the end of a period stands.
#[derive(Clone, Debug)]
pub enum EndPlace {
    /// A moment has no length.
    IsTheStart,
    At(Vec<usize>),
    /// So long after the start.
    After(usize),
}

/// A field's value.
#[derive(Clone, Debug)]
pub enum Value {
    At(usize),
    /// The same for every row.
    Constant(String),
}

impl Places {
    /// The number of a place.
    pub fn of(&mut self, name: &str) -> usize {
        self.0.iter().position(|known| known == name).unwrap_or_else(|| {
            self.0.push(name.into());
            self.0.len() - 1
        })
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    pub(super) fn name(&self, place: usize) -> &str {
        &self.0[place]
    }

    /// The column of each place, by a header.
    pub(super) fn columns(&self, header: &[String], mapping: &str) -> Result<Vec<usize>, HeaderFault> {
        let mut columns = Vec::with_capacity(self.0.len());
        let mut lacking = Vec::new();
        for name in &self.0 {
            let mut found = header.iter().enumerate().filter(|(_, column)| *column == name);
            match (found.next(), found.next()) {
                (Some((column, _)), None) => columns.push(column),
                (Some(_), Some(_)) => return Err(HeaderFault::MappedTwice(name.clone())),
                (None, _) => lacking.push(name.clone()),
            }
        }
        if lacking.is_empty() {
            return Ok(columns);
        }
        Err(HeaderFault::NotAsMapped {
            mapping: mapping.into(),
            lacking: list(&lacking),
            names: list(header),
        })
    }

    /// The column of each place, by its number. What is none was refused when the mapping was configured.
    pub(super) fn numbers(&self) -> Vec<usize> {
        self.0.iter().map(|name| name.parse::<usize>().unwrap_or(1).saturating_sub(1)).collect()
    }
}

fn list(names: &[String]) -> String {
    let shown = |name: &String| {
        format!(
            "`{}`",
            name.chars().take(NAME_SHOWN).collect::<String>().replace(char::is_control, "\u{fffd}")
        )
    };
    let mut list = names.iter().take(NAMES_SHOWN).map(shown).collect::<Vec<_>>().join(", ");
    if names.len() > NAMES_SHOWN {
        list += &format!(" and {} more", names.len() - NAMES_SHOWN);
    }
    list
}

impl FileMapping {
    /// When the period of a row begins or ends.
    pub(super) fn moment(
        &self,
        text: &str,
        not_before: Option<DateTime<Utc>>,
    ) -> Result<DateTime<Utc>, String> {
        self.times.moment(text, not_before)
    }

    /// Whether a line is none of the rows.
    pub(super) fn ignores(&self, line: &[u8]) -> bool {
        self.ignore_lines.iter().any(|start| line.starts_with(start.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// Catches a file of another kind that is read with columns which are not there, and a column that is one of two.
    #[test]
    fn a_header_that_lacks_a_mapped_column_is_refused_with_what_it_has() {
        let mut places = Places::default();
        assert_eq!(["IMSI", "Start", "IMSI", "Up"].map(|name| places.of(name)), [0, 1, 0, 2]);
        assert_eq!(places.columns(&header(&["Up", "x", "Start", "IMSI"]), "op"), Ok(vec![3, 2, 0]));
        let refused = places.columns(&header(&["IMSI", "Started"]), "op").expect_err("two are missing");
        let said = "the header lacks `Start`, `Up`, which the mapping `op` names; it has `IMSI`, `Started`";
        assert_eq!(refused.to_string(), said);
        let twice = places.columns(&header(&["IMSI", "Start", "Up", "Up"]), "op").expect_err("one of two");
        assert_eq!(twice.to_string(), "the header names `Up` twice, and the mapping means one of them");
        let many: Vec<String> = (0..1_000).map(|n| format!("column {n}")).collect();
        let refused = places.columns(&many, "op").expect_err("none fits").to_string();
        assert!(refused.ends_with("`column 29` and 970 more") && refused.len() < 700, "{refused}");
    }
}
