//! Months of past usage, streamed: for imports and for databases that look used.

use std::io::{self, Write};

use chrono::{DateTime, TimeDelta, Utc};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::fleet::{Fleet, Sim};
use crate::record::{RunId, UsageRecord};

/// What is written.
#[derive(Clone, Debug)]
pub struct HistoryOptions {
    /// First period's start.
    pub from: DateTime<Utc>,
    /// No period ends after this.
    pub to: DateTime<Utc>,
    /// Length of a period; each SIM has one record for each.
    pub interval: TimeDelta,
    /// Part of every `recordId`.
    pub run_id: RunId,
    pub format: HistoryFormat,
    /// Probability that a record is written a second time.
    pub duplicate: f64,
    /// Probability that a record comes one to 48 intervals after its turn.
    pub late: f64,
}

/// Form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryFormat {
    /// One JSON record a line, as over MQTT.
    Ndjson,
    /// RFC 4180 with a header.
    Csv,
}

/// Why a history was not written.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("{0}")]
    Options(&'static str),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Csv(#[from] csv::Error),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// Late records wait here at most; beyond that they are written in their turn, so that memory stays bounded.
const MAX_WAITING: usize = 100_000;
const LATE_INTERVALS: std::ops::RangeInclusive<u64> = 1..=48;

/// Writes the history in the order in which a fleet would have sent it and returns the number of records, duplicates
/// included. Deterministic: the same fleet and options give the same bytes, and a period has the same records in whatever
/// range it lies.
pub fn write(fleet: &Fleet, options: &HistoryOptions, out: impl Write) -> Result<u64, HistoryError> {
    check(options)?;
    let mut sink = Sink::new(options.format, out);
    let sims = fleet.publishing();
    let mut waiting: std::collections::BTreeMap<u64, Vec<UsageRecord>> = std::collections::BTreeMap::new();
    let mut waiting_count = 0;
    let mut start = options.from;
    for interval in 0_u64.. {
        let end = start + options.interval;
        if end > options.to {
            break;
        }
        let mut rng = ChaCha8Rng::seed_from_u64(fleet.seed());
        // Stream 0 made the fleet; the sign of a time before 1970 becomes another stream, and nothing else.
        rng.set_stream(start.timestamp() as u64);
        for sim in &sims {
            let record = record(&fleet.sims()[*sim as usize], (start, end), options, &mut rng);
            let late = rng.random_bool(options.late).then(|| rng.random_range(LATE_INTERVALS));
            if let Some(by) = late.filter(|_| waiting_count < MAX_WAITING) {
                waiting.entry(interval + by).or_default().push(record);
                waiting_count += 1;
                continue;
            }
            sink.write(&record)?;
            if rng.random_bool(options.duplicate) {
                sink.write(&record)?;
            }
        }
        for record in waiting.remove(&interval).unwrap_or_default() {
            waiting_count -= 1;
            sink.write(&record)?;
        }
        start = end;
    }
    for record in waiting.into_values().flatten() {
        sink.write(&record)?;
    }
    sink.finish()
}

fn check(options: &HistoryOptions) -> Result<(), HistoryError> {
    if options.interval < TimeDelta::seconds(1) || options.interval > TimeDelta::days(31) {
        return Err(HistoryError::Options("an interval is 1 second to 31 days"));
    }
    if options.from + options.interval > options.to {
        return Err(HistoryError::Options("the range is shorter than one interval"));
    }
    let valid = |probability: f64| (0.0..=1.0).contains(&probability);
    if !valid(options.duplicate) || !valid(options.late) {
        return Err(HistoryError::Options("probabilities are 0 to 1"));
    }
    Ok(())
}

fn record(
    sim: &Sim,
    (start, end): (DateTime<Utc>, DateTime<Utc>),
    options: &HistoryOptions,
    rng: &mut impl Rng,
) -> UsageRecord {
    let hours = options.interval.num_seconds() as f64 / 3600.0;
    UsageRecord {
        // One record for each SIM and period start: the start alone makes it unique within the run.
        record_id: UsageRecord::id(&sim.iccid, start, &options.run_id, 0),
        iccid: sim.iccid.clone(),
        period_start: start,
        period_end: end,
        usage: sim.usage(rng, start, hours),
        source: "simulator",
        mccmnc: sim.serving.mccmnc,
    }
}

enum Sink<W: Write> {
    Ndjson { out: io::BufWriter<W>, records: u64 },
    Csv { out: Box<csv::Writer<W>>, records: u64 },
}

/// The nested record as one flat row, because the csv crate writes no nested structs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row<'a> {
    record_id: &'a str,
    iccid: &'a str,
    period_start: String,
    period_end: String,
    total_bytes: u64,
    data_upload_bytes: u64,
    data_download_bytes: u64,
    sms_count: u32,
    voice_seconds: u32,
    source: &'a str,
    mccmnc: &'a str,
}

impl<W: Write> Sink<W> {
    fn new(format: HistoryFormat, out: W) -> Self {
        match format {
            HistoryFormat::Ndjson => {
                Self::Ndjson { out: io::BufWriter::with_capacity(1 << 16, out), records: 0 }
            }
            HistoryFormat::Csv => {
                let builder = &mut csv::WriterBuilder::new();
                let out = builder.terminator(csv::Terminator::CRLF).buffer_capacity(1 << 16).from_writer(out);
                Self::Csv { out: Box::new(out), records: 0 }
            }
        }
    }

    fn write(&mut self, record: &UsageRecord) -> Result<(), HistoryError> {
        match self {
            Self::Ndjson { out, records } => {
                serde_json::to_writer(&mut *out, record)?;
                out.write_all(b"\n")?;
                *records += 1;
            }
            Self::Csv { out, records } => {
                let time = |at: DateTime<Utc>| at.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true);
                out.serialize(Row {
                    record_id: &record.record_id,
                    iccid: &record.iccid,
                    period_start: time(record.period_start),
                    period_end: time(record.period_end),
                    total_bytes: record.usage.total_bytes,
                    data_upload_bytes: record.usage.data_upload_bytes,
                    data_download_bytes: record.usage.data_download_bytes,
                    sms_count: record.usage.sms_count,
                    voice_seconds: record.usage.voice_seconds,
                    source: record.source,
                    mccmnc: record.mccmnc,
                })?;
                *records += 1;
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<u64, HistoryError> {
        match self {
            Self::Ndjson { mut out, records } => {
                out.flush()?;
                Ok(records)
            }
            Self::Csv { mut out, records } => {
                out.flush()?;
                Ok(records)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use chrono::TimeZone;
    use serde_json::Value;

    use super::*;
    use crate::fleet::FleetSpec;

    fn options(format: HistoryFormat) -> HistoryOptions {
        HistoryOptions {
            from: Utc.with_ymd_and_hms(2026, 1, 1, 0, 0, 0).unwrap(),
            to: Utc.with_ymd_and_hms(2026, 1, 3, 0, 0, 0).unwrap(),
            interval: TimeDelta::hours(1),
            run_id: "h".parse().unwrap(),
            format,
            duplicate: 0.0,
            late: 0.0,
        }
    }

    fn written(seed: u64, options: &HistoryOptions) -> (Vec<u8>, u64) {
        let mut out = Vec::new();
        let count = write(&Fleet::generate(FleetSpec { sims: 20, seed }), options, &mut out).unwrap();
        (out, count)
    }

    #[test]
    fn every_active_sim_has_one_record_for_each_interval_of_the_range() {
        let (bytes, count) = written(1, &options(HistoryFormat::Ndjson));
        let sims = Fleet::generate(FleetSpec { sims: 20, seed: 1 }).publishing().len() as u64;
        assert_eq!(count, sims * 48);
        let lines: Vec<Value> =
            bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
        let ids: HashSet<&str> = lines.iter().map(|line| line["recordId"].as_str().unwrap()).collect();
        assert_eq!(ids.len() as u64, count);
        assert_eq!(lines.last().unwrap()["periodEnd"], "2026-01-03T00:00:00Z");
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes_also_with_faults() {
        let options = HistoryOptions { duplicate: 0.1, late: 0.1, ..options(HistoryFormat::Ndjson) };
        assert_eq!(written(1, &options), written(1, &options));
        assert_ne!(written(1, &options), written(2, &options));
    }

    /// Catches amounts that depend on where a range begins: a history that is made again would be in conflict with itself.
    #[test]
    fn a_period_has_the_same_records_in_whatever_range_it_lies() {
        let whole = options(HistoryFormat::Ndjson);
        let half = HistoryOptions { from: whole.from + TimeDelta::days(1), ..whole.clone() };
        let (whole, half) = (written(1, &whole).0, written(1, &half).0);
        assert!(half.len() > 10_000 && whole.ends_with(&half));
    }

    #[test]
    fn late_records_change_the_order_and_duplicates_the_count_but_nothing_is_lost() {
        let plain = written(1, &options(HistoryFormat::Ndjson)).1;
        let late = written(1, &HistoryOptions { late: 0.3, ..options(HistoryFormat::Ndjson) });
        assert_eq!(late.1, plain);
        let doubled = written(1, &HistoryOptions { duplicate: 1.0, ..options(HistoryFormat::Ndjson) });
        assert_eq!(doubled.1, 2 * plain);
    }

    #[test]
    fn csv_has_a_header_and_as_many_rows_as_ndjson_has_lines() {
        let (bytes, count) = written(1, &options(HistoryFormat::Csv));
        let mut reader = csv::Reader::from_reader(bytes.as_slice());
        assert_eq!(&reader.headers().unwrap()[0], "recordId");
        assert_eq!(reader.records().map(Result::unwrap).count() as u64, count);
    }

    #[test]
    fn a_range_without_a_whole_interval_is_refused() {
        let options = HistoryOptions { interval: TimeDelta::days(3), ..options(HistoryFormat::Csv) };
        let fleet = Fleet::generate(FleetSpec { sims: 1, seed: 1 });
        assert!(matches!(write(&fleet, &options, Vec::new()), Err(HistoryError::Options(_))));
    }
}
