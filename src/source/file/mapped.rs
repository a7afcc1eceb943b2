//! How a row of another system becomes the JSON record that devices send.

use std::borrow::Cow;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::domain::{FieldFault, Iccid, Rejection, RejectionCode};
use crate::source::amount::AmountFault;
use crate::store::accounts::ACCOUNT_MAX_CHARS;

use super::mapping::{EndPlace, FileMapping, SimPlace, Value};
use super::times;

/// Characters of a value that a message repeats.
const SHOWN: usize = 40;
/// The longest record id (contract §1).
const RECORD_ID_MAX_CHARS: usize = 100;

/// What a row says, in the order of the mapping's places; empty text is nothing.
pub(super) type Texts<'r> = [Cow<'r, str>];

/// A row as a record. One of an account lacks its ICCID still.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MappedRecord {
    pub(super) json: Bytes,
    pub(super) sim: Sim,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sim {
    Iccid(String),
    Account(String),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Record<'r> {
    record_id: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    iccid: Option<&'r str>,
    /// With `mapping` it tells a replay which account of whom this was.
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mapping: Option<&'r str>,
    period_start: String,
    period_end: String,
    source: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    mccmnc: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    corrects: Option<&'r str>,
    usage: Usage,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Usage {
    #[serde(skip_serializing_if = "Option::is_none")]
    total_bytes: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_upload_bytes: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_download_bytes: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sms_count: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    voice_seconds: Option<i64>,
}

impl FileMapping {
    /// The record of a row; every fault at once otherwise. `row` is all of the row, for a record id that is made of it.
    pub(super) fn record(
        &self,
        texts: &Texts<'_>,
        row: impl Iterator<Item: AsRef<[u8]>>,
    ) -> Result<MappedRecord, Rejection> {
        Reading { mapping: self, texts, faults: Vec::new() }.record(row)
    }
}

/// A row that is being read.
struct Reading<'r> {
    mapping: &'r FileMapping,
    texts: &'r Texts<'r>,
    faults: Vec<FieldFault>,
}

impl<'r> Reading<'r> {
    fn record(mut self, row: impl Iterator<Item: AsRef<[u8]>>) -> Result<MappedRecord, Rejection> {
        let fields = &self.mapping.fields;
        let record_id = self.record_id(row);
        let sim = match &fields.sim {
            SimPlace::Iccid(value) => self.text(Some(value)).map(|iccid| Sim::Iccid(iccid.to_owned())),
            SimPlace::Account(value) => {
                self.text(Some(value)).map(|account| Sim::Account(account.to_owned()))
            }
        };
        if sim.is_none() {
            self.fault("iccid", "the row does not tell the SIM".into());
        }
        if let Some(Sim::Account(account)) = &sim
            && (account.chars().count() > ACCOUNT_MAX_CHARS || account.contains(char::is_control))
        {
            self.fault(
                "account",
                format!("must be at most {ACCOUNT_MAX_CHARS} characters, none for control"),
            );
        }
        let period = self.period();
        let usage = self.usage();
        let (Some(record_id), Some(sim), Some((start, end)), true) =
            (record_id, sim, period, self.faults.is_empty())
        else {
            return Err(Rejection { code: RejectionCode::Invalid, faults: self.faults });
        };
        let (iccid, account) = match &sim {
            Sim::Iccid(iccid) => (Some(iccid.as_str()), None),
            Sim::Account(account) => (None, Some(account.as_str())),
        };
        let record = Record {
            record_id: &record_id,
            iccid,
            account,
            mapping: account.map(|_| self.mapping.name.as_str()),
            period_start: written(start),
            period_end: written(end),
            source: self.text(fields.source.as_ref()).unwrap_or(&self.mapping.name),
            mccmnc: self.text(fields.mccmnc.as_ref()),
            corrects: self.text(fields.corrects.as_ref()),
            usage,
        };
        let json = serde_json::to_vec(&record).expect("texts and numbers can always be written");
        Ok(MappedRecord { json: json.into(), sim })
    }

    fn fault(&mut self, field: &'static str, message: String) {
        self.faults.push(FieldFault { field, message });
    }

    /// What a field says; `None` when it says nothing.
    fn text(&self, value: Option<&'r Value>) -> Option<&'r str> {
        let text = match value? {
            Value::At(place) => self.texts[*place].trim(),
            Value::Constant(text) => text.as_str(),
        };
        (!text.is_empty()).then_some(text)
    }

    /// For a message: where a field stands and what it says there.
    fn quoted(&self, value: &Value, text: &str) -> String {
        match value {
            Value::At(place) => format!("`{}` of {}", shown(text), self.mapping.places.name(*place)),
            Value::Constant(_) => format!("the constant `{}`", shown(text)),
        }
    }

    /// One text as it stands; several joined by colons. What could be mistaken then, or is too long, and a whole row, is the
    /// SHA-256 of its parts, each behind its length.
    fn record_id(&mut self, row: impl Iterator<Item: AsRef<[u8]>>) -> Option<String> {
        let places = &self.mapping.fields.record_id;
        if places.is_empty() {
            return Some(digest(row));
        }
        let texts: Vec<&str> = places.iter().map(|place| self.texts[*place].trim()).collect();
        if texts.iter().all(|text| text.is_empty()) {
            self.fault("recordId", "the row tells none".into());
            return None;
        }
        let joined = texts.join(":");
        let is_plain = texts.len() == 1 || !texts.iter().any(|text| text.contains(':'));
        let is_short = joined.chars().count() <= RECORD_ID_MAX_CHARS;
        Some(if is_plain && is_short { joined } else { digest(texts.iter()) })
    }

    fn period(&mut self) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        let fields = &self.mapping.fields;
        let start = self.moment("periodStart", &fields.start, None)?;
        let end = match &fields.end {
            EndPlace::IsTheStart => start,
            EndPlace::At(places) => self.moment("periodEnd", places, Some(start))?,
            EndPlace::After(place) => {
                let text = self.texts[*place].trim();
                let end = times::duration(text).and_then(|duration| start.checked_add_signed(duration));
                if end.is_none() {
                    let quoted = self.quoted(&Value::At(*place), text);
                    self.fault("periodEnd", format!("{quoted} is no duration: seconds, or H:MM:SS"));
                }
                end?
            }
        };
        Some((start, end))
    }

    fn moment(
        &mut self,
        field: &'static str,
        places: &[usize],
        not_before: Option<DateTime<Utc>>,
    ) -> Option<DateTime<Utc>> {
        let texts: Vec<&str> = places.iter().map(|place| self.texts[*place].trim()).collect();
        let text = texts.join(" ");
        let read = self.mapping.moment(text.trim(), not_before);
        read.map_err(|problem| self.fault(field, format!("`{}` {problem}", shown(&text)))).ok()
    }

    /// Amounts as far as they are stated. Of two directions one that is empty is 0 where the other is not.
    fn usage(&mut self) -> Usage {
        let fields = &self.mapping.fields;
        let total_bytes = self.bytes("usage.totalBytes", fields.total.as_ref());
        let mut upload = self.bytes("usage.dataUploadBytes", fields.upload.as_ref());
        let mut download = self.bytes("usage.dataDownloadBytes", fields.download.as_ref());
        if total_bytes.is_none() && upload.is_some() != download.is_some() {
            upload = upload.or(Some(0));
            download = download.or(Some(0));
        }
        Usage {
            total_bytes,
            data_upload_bytes: upload,
            data_download_bytes: download,
            sms_count: self.count("usage.smsCount", fields.sms.as_ref()),
            voice_seconds: self.seconds(fields.voice.as_ref()),
        }
    }

    fn bytes(&mut self, field: &'static str, value: Option<&'r Value>) -> Option<i64> {
        let (value, text) = (value?, self.text(value)?);
        // Whether there may be a sign, the decoder says: only corrections have one.
        let (sign, figure) = text.strip_prefix('-').map_or((1, text), |figure| (-1, figure));
        let figure = match self.mapping.decimal_comma {
            true if figure.contains('.') => Err(AmountFault::NotANumber),
            true => self.mapping.unit.bytes_of(&figure.replace(',', ".")),
            false => self.mapping.unit.bytes_of(figure),
        };
        let problem = match figure {
            Ok(bytes) => return Some(sign * bytes),
            Err(AmountFault::NotANumber) => "is no number",
            Err(AmountFault::TooLarge) => "is more than 2^45 bytes",
        };
        self.fault(field, format!("{} {problem}", self.quoted(value, text)));
        None
    }

    fn count(&mut self, field: &'static str, value: Option<&'r Value>) -> Option<i64> {
        let (value, text) = (value?, self.text(value)?);
        let digits = text.strip_prefix('-').unwrap_or(text);
        let is_whole = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let count = text.parse().ok().filter(|_| is_whole);
        if count.is_none() {
            self.fault(field, format!("{} is no whole number", self.quoted(value, text)));
        }
        count
    }

    /// A part of a second is dropped.
    fn seconds(&mut self, value: Option<&'r Value>) -> Option<i64> {
        let (value, text) = (value?, self.text(value)?);
        let (sign, figure) = text.strip_prefix('-').map_or((1, text), |figure| (-1, figure));
        let seconds = times::duration(figure).map(|duration| sign * duration.num_seconds());
        if seconds.is_none() {
            let quoted = self.quoted(value, text);
            self.fault("usage.voiceSeconds", format!("{quoted} is no duration: seconds, or H:MM:SS"));
        }
        seconds
    }
}

impl MappedRecord {
    /// The JSON of an account's record with the SIM for which the account stands.
    pub(super) fn with_iccid(json: &[u8], iccid: &Iccid) -> Bytes {
        let lead = format!("{{\"iccid\":\"{}\",", iccid.as_str());
        // The record is an object, and never an empty one.
        [lead.as_bytes(), json.get(1..).unwrap_or_default()].concat().into()
    }
}

fn written(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn shown(text: &str) -> String {
    let mut shown: String =
        text.chars().take(SHOWN).collect::<String>().replace(char::is_control, "\u{fffd}");
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

fn digest(parts: impl Iterator<Item: AsRef<[u8]>>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        let part = part.as_ref();
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[path = "mapped_tests.rs"]
mod tests;
