use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Serialize, Serializer};

/// The largest amount that the contract allows in one record: 2^45 bytes.
pub const MAX_AMOUNT: u64 = 1 << 45;
/// The longest `recordId` that the contract allows, in characters.
pub const MAX_RECORD_ID: usize = 100;

/// One usage record as it goes over the wire (contract §1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UsageRecord {
    pub record_id: String,
    pub iccid: String,
    #[serde(serialize_with = "rfc3339")]
    pub period_start: DateTime<Utc>,
    #[serde(serialize_with = "rfc3339")]
    pub period_end: DateTime<Utc>,
    pub usage: Usage,
    pub source: &'static str,
    pub mccmnc: &'static str,
}

/// Amounts of one period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    pub total_bytes: u64,
    pub data_upload_bytes: u64,
    pub data_download_bytes: u64,
    pub sms_count: u32,
    pub voice_seconds: u32,
}

impl UsageRecord {
    /// `recordId` of the `n`-th record of a run: unique because `n` never repeats within a run and SIM.
    pub(crate) fn id(iccid: &str, period_start: DateTime<Utc>, run: &RunId, n: u64) -> String {
        format!("{iccid}-{}-{run}-{n}", period_start.timestamp())
    }

    /// The record as JSON.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a struct of strings and integers always serializes")
    }
}

fn rfc3339<S: Serializer>(at: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&at.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

/// What keeps the `recordId`s of two runs apart, at most 32 letters, digits and hyphens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunId(String);

/// A run id that would not fit into a `recordId`.
#[derive(Debug, thiserror::Error)]
#[error("a run id has 1 to 32 letters, digits or hyphens")]
pub struct InvalidRunId;

impl RunId {
    /// From the seed and the start time: two runs on the same data do not collide, and a run can be repeated exactly.
    pub fn new(seed: u64, started_at: DateTime<Utc>) -> Self {
        // 44 bits of milliseconds last until the year 2527.
        Self(format!("{seed:x}-{:x}", started_at.timestamp_millis() & 0xfff_ffff_ffff))
    }
}

impl FromStr for RunId {
    type Err = InvalidRunId;

    fn from_str(text: &str) -> Result<Self, InvalidRunId> {
        let valid = (1..=32).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if valid { Ok(Self(text.to_owned())) } else { Err(InvalidRunId) }
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone;

    use super::*;

    #[test]
    fn a_record_has_the_names_and_forms_of_the_contract() {
        let start = Utc.with_ymd_and_hms(2026, 11, 20, 12, 0, 0).unwrap();
        let record = UsageRecord {
            record_id: "r-1".to_owned(),
            iccid: "8941010000000000014".to_owned(),
            period_start: start,
            period_end: start + chrono::TimeDelta::minutes(15),
            usage: Usage { total_bytes: 3, data_upload_bytes: 1, data_download_bytes: 2, ..Usage::default() },
            source: "simulator",
            mccmnc: "22801",
        };
        assert_eq!(
            String::from_utf8(record.to_json()).unwrap(),
            r#"{"recordId":"r-1","iccid":"8941010000000000014","periodStart":"2026-11-20T12:00:00Z","periodEnd":"2026-11-20T12:15:00Z","usage":{"totalBytes":3,"dataUploadBytes":1,"dataDownloadBytes":2,"smsCount":0,"voiceSeconds":0},"source":"simulator","mccmnc":"22801"}"#
        );
    }

    #[test]
    fn the_longest_record_id_fits_the_contract() {
        let start = DateTime::<Utc>::MAX_UTC;
        let id = UsageRecord::id("89410100000000000144", start, &RunId::new(u64::MAX, start), u64::MAX);
        assert!(id.len() <= MAX_RECORD_ID, "{id}");
    }

    #[test]
    fn two_runs_have_different_ids_and_a_repeated_run_the_same() {
        let at = |second| Utc.with_ymd_and_hms(2026, 11, 20, 12, 0, second).unwrap();
        assert_ne!(RunId::new(1, at(0)), RunId::new(1, at(1)));
        assert_ne!(RunId::new(1, at(0)), RunId::new(2, at(0)));
        assert_eq!(RunId::new(1, at(0)), RunId::new(1, at(0)));
    }

    #[test]
    fn a_run_id_that_would_break_the_record_id_is_refused() {
        for bad in ["", "a b", "ä", &"x".repeat(33)] {
            assert!(bad.parse::<RunId>().is_err(), "{bad}");
        }
    }
}
