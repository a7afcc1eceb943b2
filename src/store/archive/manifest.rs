//! What an archive says of itself, in its file and in the database.

use std::collections::BTreeMap;

use chrono::{DateTime, Months, NaiveDate, NaiveTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio_postgres::Row;

use super::columns::Column;
use super::error::{ArchiveError, Finding};
use super::row_group::{RowGroup, in_order};

/// The newest layout of an archive that this program reads, and the one that it writes.
const FORMAT: u32 = 1;

/// Under this name it stands in the file.
pub(super) const KEY: &str = "simbridge.archive";

/// Of one file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    format: u32,
    /// Program and version.
    pub made_by: String,
    /// `id` in `usage_archives`.
    pub archive: String,
    /// The records are those whose `period_start` is not before `from`, and before `before`.
    pub from: DateTime<Utc>,
    pub before: DateTime<Utc>,
    pub schema_version: i32,
    pub(super) columns: Vec<Column>,
    /// SHA-256 of all rows as PostgreSQL's binary COPY has them, ordered by iccid, period_start and id; hexadecimal digits.
    pub rows_sha256: String,
    pub figures: Figures,
}

/// Counts and sums.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    pub records: i64,
    /// Decimal text, as all amounts here: the sum of total_bytes.
    pub total_bytes: String,
    pub upload_bytes: String,
    pub download_bytes: String,
    pub first_period_start: Option<DateTime<Utc>>,
    pub last_period_start: Option<DateTime<Utc>>,
    pub days: Vec<Day>,
}

/// Records whose `period_start` lies on one UTC day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Day {
    pub day: NaiveDate,
    pub records: i64,
    pub upload_bytes: String,
    pub download_bytes: String,
    pub total_bytes: String,
    pub sms_count: String,
    pub voice_seconds: String,
}

/// Moments at which a month begins and ends, in UTC.
pub(super) fn bounds(month: NaiveDate) -> (DateTime<Utc>, DateTime<Utc>) {
    let at = |day: NaiveDate| day.and_time(NaiveTime::MIN).and_utc();
    (at(month), at(month + Months::new(1)))
}

impl Manifest {
    pub(super) fn new(
        archive: String,
        month: NaiveDate,
        schema_version: i32,
        columns: Vec<Column>,
        rows_sha256: String,
        figures: Figures,
    ) -> Self {
        let (from, before) = bounds(month);
        let made_by = concat!("simbridge ", env!("CARGO_PKG_VERSION")).to_owned();
        Self { format: FORMAT, made_by, archive, from, before, schema_version, columns, rows_sha256, figures }
    }

    pub(super) fn parse(text: &str) -> Result<Self, Finding> {
        /// What every format has, also one that is not known here.
        #[derive(Deserialize)]
        struct Origin {
            format: u32,
            made_by: String,
        }
        let none = |error: serde_json::Error| Finding::NoArchive(error.to_string());
        let origin: Origin = serde_json::from_str(text).map_err(none)?;
        if origin.format > FORMAT {
            return Err(Finding::Newer(origin.made_by));
        }
        serde_json::from_str(text).map_err(none)
    }

    /// `None` when this is what was found, else both.
    pub(super) fn difference(&self, found: &Tally) -> Option<String> {
        if let Some(difference) = self.figures.difference(&found.figures) {
            return Some(difference);
        }
        (self.rows_sha256 != found.rows_sha256)
            .then(|| "counts and sums are the same, and yet some record is another one".to_owned())
    }
}

impl Figures {
    /// As PostgreSQL counts them: one row for each day.
    pub(super) fn of(rows: &[Row]) -> Self {
        let mut days = BTreeMap::new();
        for row in rows {
            let number = |name| row.get::<_, String>(name).parse().expect("a sum of whole numbers is one");
            let sums = Sums {
                records: row.get("records"),
                amounts: AMOUNTS.map(|(_, name)| number(name)),
                first: row.get("first"),
                last: row.get("last"),
            };
            days.insert(row.get("day"), sums);
        }
        Self::sum(&days)
    }

    fn sum(days: &BTreeMap<NaiveDate, Sums>) -> Self {
        let all = |amount: usize| days.values().map(|day| day.amounts[amount]).sum::<i128>().to_string();
        Self {
            records: days.values().map(|day| day.records).sum(),
            upload_bytes: all(0),
            download_bytes: all(1),
            total_bytes: all(2),
            first_period_start: days.values().map(|day| day.first).min(),
            last_period_start: days.values().map(|day| day.last).max(),
            days: days.iter().map(|(day, sums)| sums.day(*day)).collect(),
        }
    }

    fn difference(&self, found: &Self) -> Option<String> {
        if self == found {
            return None;
        }
        let brief = |f: &Self| format!("{} records with {} bytes", f.records, f.total_bytes);
        let day = self.days.iter().find(|day| !found.days.contains(day));
        let day = day.map_or_else(String::new, |day| format!(", first on {}", day.day));
        Some(format!("{} instead of {}{day}", brief(found), brief(self)))
    }
}

/// Columns of amounts, and what PostgreSQL's sums of them are called.
const AMOUNTS: [(&str, &str); 5] = [
    ("data_upload_bytes", "upload_bytes"),
    ("data_download_bytes", "download_bytes"),
    ("total_bytes", "total_bytes"),
    ("sms_count", "sms_count"),
    ("voice_seconds", "voice_seconds"),
];

#[derive(Debug)]
struct Sums {
    records: i64,
    amounts: [i128; AMOUNTS.len()],
    first: DateTime<Utc>,
    last: DateTime<Utc>,
}

impl Sums {
    fn day(&self, day: NaiveDate) -> Day {
        let [upload_bytes, download_bytes, total_bytes, sms_count, voice_seconds] =
            self.amounts.map(|amount| amount.to_string());
        let records = self.records;
        Day { day, records, upload_bytes, download_bytes, total_bytes, sms_count, voice_seconds }
    }
}

/// What was found in a file.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) figures: Figures,
    pub(super) rows_sha256: String,
}

/// Counts what a file holds: by other code than PostgreSQL's.
pub(super) struct Counting {
    days: BTreeMap<NaiveDate, Sums>,
    digest: Sha256,
    period_start: usize,
    amounts: [usize; AMOUNTS.len()],
    layout: Vec<Option<usize>>,
}

impl Counting {
    pub(super) fn of(columns: &[Column]) -> Result<Self, Finding> {
        let place = |name: &str| {
            let place = columns.iter().position(|column| column.name == name);
            place.ok_or_else(|| Finding::NoArchive(format!("it has no column {name}")))
        };
        let mut amounts = [0; AMOUNTS.len()];
        for (amount, (column, _)) in amounts.iter_mut().zip(AMOUNTS) {
            *amount = place(column)?;
        }
        Ok(Self {
            days: BTreeMap::new(),
            digest: Sha256::new(),
            period_start: place("period_start")?,
            amounts,
            layout: in_order(columns.len()),
        })
    }

    pub(super) fn add(&mut self, group: &RowGroup) -> Result<(), ArchiveError> {
        const OTHER: ArchiveError = ArchiveError::Protocol("amounts that are no numbers");
        let starts = group.numbers(self.period_start).ok_or(OTHER)?;
        let mut amounts = [&[][..]; AMOUNTS.len()];
        for (column, place) in amounts.iter_mut().zip(self.amounts) {
            *column = group.numbers(place).ok_or(OTHER)?;
        }
        for (row, micros) in starts.iter().enumerate() {
            let start = DateTime::from_timestamp_micros(*micros).ok_or(OTHER)?;
            let sums = self.days.entry(start.date_naive()).or_insert(Sums {
                records: 0,
                amounts: [0; AMOUNTS.len()],
                first: start,
                last: start,
            });
            sums.records += 1;
            for (sum, column) in sums.amounts.iter_mut().zip(amounts) {
                *sum += i128::from(column[row]);
            }
            sums.first = sums.first.min(start);
            sums.last = sums.last.max(start);
        }
        let digest = &mut self.digest;
        group.tuples(&self.layout, |tuple| {
            digest.update(tuple);
            Ok(())
        })
    }

    pub(super) fn tally(self) -> Tally {
        Tally { figures: Figures::sum(&self.days), rows_sha256: hex(self.digest) }
    }
}

pub(super) fn hex(digest: Sha256) -> String {
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::columns::Kind;
    use super::super::row_group::tests::numbers;
    use super::*;

    const NAMES: [&str; 7] = [
        "id",
        "period_start",
        "data_upload_bytes",
        "data_download_bytes",
        "total_bytes",
        "sms_count",
        "voice_seconds",
    ];
    /// 1 January 2026 as PostgreSQL counts.
    const START: i64 = 820_540_800_000_000;
    const DAY: i64 = 86_400_000_000;

    fn columns() -> Vec<Column> {
        let kind = |name: &str| if name == "period_start" { Kind::Timestamptz } else { Kind::Bigint };
        NAMES.map(|name| Column { name: name.into(), kind: kind(name), nullable: false }).to_vec()
    }

    fn tally(rows: &[[i64; 7]]) -> Tally {
        let columns = columns();
        let mut counting = Counting::of(&columns).unwrap();
        let mut group = RowGroup::empty(&columns);
        for row in rows {
            group.push(numbers(row), &in_order(7)).unwrap();
        }
        counting.add(&group).unwrap();
        counting.tally()
    }

    fn manifest(rows: &[[i64; 7]]) -> Manifest {
        let Tally { figures, rows_sha256 } = tally(rows);
        let month = NaiveDate::from_ymd_opt(2026, 1, 1).unwrap();
        Manifest::new("a".into(), month, 32, columns(), rows_sha256, figures)
    }

    const ROWS: [[i64; 7]; 3] = [
        [1, START, 1, 2, 3, 0, 0],
        [2, START + DAY - 1, i64::MAX, i64::MAX, i64::MAX, 1, 60],
        [3, START + DAY, i64::MAX, -5, i64::MAX, 0, 0],
    ];

    #[test]
    fn figures_are_those_of_the_rows() {
        let figures = tally(&ROWS).figures;
        assert_eq!((figures.records, figures.download_bytes.as_str()), (3, "9223372036854775804"));
        assert_eq!(figures.total_bytes, (2 * i128::from(i64::MAX) + 3).to_string());
        let days: Vec<_> =
            figures.days.iter().map(|d| (d.day.to_string(), d.records, d.voice_seconds.as_str())).collect();
        assert_eq!(days, [("2026-01-01".into(), 2, "60"), ("2026-01-02".into(), 1, "0")]);
        assert_eq!(figures.last_period_start.unwrap().to_rfc3339(), "2026-01-02T00:00:00+00:00");
    }

    /// Catches a comparison that leaves out one of the amounts, the days, or what no sum shows.
    #[test]
    fn whatever_differs_is_a_difference() {
        let manifest = manifest(&ROWS);
        assert_eq!(manifest.difference(&tally(&ROWS)), None);
        assert_eq!(manifest, Manifest::parse(&serde_json::to_string(&manifest).unwrap()).unwrap());
        assert!(manifest.difference(&tally(&ROWS[..2])).unwrap().contains("2 records"));
        for column in 0..7 {
            let mut rows = ROWS;
            rows[0][column] += 1;
            let found = tally(&rows);
            // The number of a record is in no sum, and moving it by a microsecond not either, but in the digest.
            let by_figures = manifest.figures != found.figures;
            assert_eq!(by_figures, column > 0, "{column}");
            assert!(manifest.difference(&found).is_some(), "{column}");
            assert_ne!(manifest.rows_sha256, found.rows_sha256, "{column}");
        }
        let [a, b, c] = ROWS;
        assert!(manifest.difference(&tally(&[b, a, c])).unwrap().contains("some record is another one"));
    }

    #[test]
    fn an_archive_from_the_future_says_who_made_it() {
        let newer = r#"{"format": 2, "made_by": "simbridge 9.0.0", "other": 1}"#;
        assert_eq!(Manifest::parse(newer), Err(Finding::Newer("simbridge 9.0.0".into())));
        assert!(matches!(Manifest::parse("{}"), Err(Finding::NoArchive(_))));
    }
}
