use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};
use clap::{Args, ValueEnum};
use simulator::fleet::Fleet;
use simulator::history::{HistoryFormat, HistoryOptions, write};
use simulator::record::RunId;

use super::{FleetArgs, duration, output};

/// One record for each active SIM and interval, in the order in which the fleet would have sent them.
#[derive(Args)]
pub(crate) struct HistoryArgs {
    #[command(flatten)]
    fleet: FleetArgs,
    /// First period's start: a date (midnight UTC) or an RFC 3339 time.
    #[arg(long, value_parser = time, value_name = "TIME")]
    from: DateTime<Utc>,
    /// End of the last period at most: a date (midnight UTC) or an RFC 3339 time.
    #[arg(long, value_parser = time, value_name = "TIME")]
    to: DateTime<Utc>,
    /// Length of each period, such as 15m, 1h or 1d.
    #[arg(long, value_parser = duration, default_value = "1h")]
    interval: Duration,
    #[arg(long, value_enum, default_value = "ndjson")]
    format: FormatArg,
    /// File to write; `-` is the standard output.
    #[arg(long, default_value = "-", value_name = "FILE")]
    output: PathBuf,
    /// Part of every recordId.
    #[arg(long, default_value = "history")]
    run_id: RunId,
    /// Probability (0 to 1) that a record is written twice.
    #[arg(long, default_value_t = 0.0)]
    duplicate: f64,
    /// Probability (0 to 1) that a record comes 1 to 48 intervals late.
    #[arg(long, default_value_t = 0.0)]
    late: f64,
}

#[derive(Clone, Copy, ValueEnum)]
enum FormatArg {
    Ndjson,
    Csv,
}

fn time(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(date) = text.parse::<NaiveDate>() {
        return Ok(date.and_time(NaiveTime::MIN).and_utc());
    }
    DateTime::parse_from_rfc3339(text)
        .map(|at| at.to_utc())
        .map_err(|_| "use a date such as 2026-01-31 or a time such as 2026-01-31T12:00:00Z".to_owned())
}

impl HistoryArgs {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let options = HistoryOptions {
            from: self.from,
            to: self.to,
            interval: TimeDelta::from_std(self.interval).context("--interval is too long")?,
            run_id: self.run_id,
            format: match self.format {
                FormatArg::Ndjson => HistoryFormat::Ndjson,
                FormatArg::Csv => HistoryFormat::Csv,
            },
            duplicate: self.duplicate,
            late: self.late,
        };
        let fleet = Fleet::generate(self.fleet.spec());
        let records = write(&fleet, &options, output(&self.output)?)?;
        eprintln!("{records} records");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_date_or_rfc_3339() {
        assert_eq!(time("2026-01-31"), time("2026-01-31T00:00:00Z"));
        assert_eq!(time("2026-01-31T01:00:00+01:00"), time("2026-01-31"));
        assert!(time("yesterday").is_err());
    }
}
