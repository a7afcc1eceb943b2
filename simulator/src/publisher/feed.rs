use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::value::RawValue;

use super::PublisherOptions;
use crate::faults::RecordKind;
use crate::ledger::LedgerRecord;
use crate::malformed;
use crate::record::{MAX_AMOUNT, UsageRecord};

/// Oldest and newest age of a late period, in days: inside the 400 days that the contract accepts by default.
const LATE_DAYS: std::ops::Range<i64> = 1..60;

/// One PUBLISH and the records in it.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    pub(crate) records: Vec<LedgerRecord>,
    /// The connection is to be dropped as soon as this message is on its way.
    pub(crate) cut: bool,
}

/// What one connection publishes: the records of its SIMs in turn, faults included. Reproducible from the seed, the
/// connection's number and the clock.
pub(crate) struct Feed {
    options: Arc<PublisherOptions>,
    budget: Arc<Budget>,
    /// Indices of the SIMs, and when each one's last period ended.
    members: Vec<(u32, DateTime<Utc>)>,
    cursor: usize,
    sequence: u64,
    connection: u32,
    rng: ChaCha8Rng,
    ready: VecDeque<Message>,
    held: Option<Message>,
}

/// Records that may still be made, by all connections together.
pub(crate) struct Budget(AtomicU64);

impl Budget {
    pub(crate) fn new(records: Option<u64>) -> Self {
        Self(AtomicU64::new(records.unwrap_or(u64::MAX)))
    }

    /// Takes up to `wanted`.
    fn take(&self, wanted: u64) -> u64 {
        let mut taken = 0;
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            taken = left.min(wanted);
            Some(left - taken)
        });
        taken
    }
}

/// An element of a message before it is put into one.
struct Element {
    json: Vec<u8>,
    ledger: LedgerRecord,
    conflict: Option<(Vec<u8>, LedgerRecord)>,
}

impl Feed {
    pub(crate) fn new(
        options: Arc<PublisherOptions>,
        budget: Arc<Budget>,
        connection: u32,
        sims: &[u32],
    ) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(options.fleet.seed());
        // Stream 0 made the fleet.
        rng.set_stream(u64::from(connection) + 1);
        let now = options.clock.now();
        let members = sims.iter().map(|sim| (*sim, now - options.amounts_for)).collect();
        Self {
            options,
            budget,
            members,
            cursor: 0,
            sequence: 0,
            connection,
            rng,
            ready: VecDeque::new(),
            held: None,
        }
    }

    /// The next message; `None` when the budget is used up.
    pub(crate) fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Some(message);
            }
            let records = self.budget.take(self.options.records_per_message.into());
            if records == 0 {
                return self.held.take();
            }
            self.make(records);
        }
    }

    fn make(&mut self, records: u64) {
        let faults = self.options.faults;
        let many = self.options.records_per_message > 1;
        let sim = self.members[self.cursor % self.members.len()].0;
        let elements: Vec<Element> = (0..records).map(|_| self.element(many)).collect();
        let topic = if many {
            "simportal/sims/usage/batch".to_owned()
        } else {
            format!("simportal/sims/{}/usage", self.options.fleet.sims()[sim as usize].iccid)
        };
        let conflicts: Vec<_> = elements.iter().filter_map(|element| element.conflict.clone()).collect();
        let (payloads, ledger): (Vec<_>, Vec<_>) =
            elements.into_iter().map(|element| (element.json, element.ledger)).unzip();
        let payload =
            if many { self.envelope(&payloads) } else { payloads.into_iter().next().unwrap_or_default() };
        let cut = self.rng.random_bool(faults.cut);
        let message = Message { topic, payload: payload.into(), records: ledger, cut };
        let copy = self.rng.random_bool(faults.duplicate).then(|| repeated(&message));
        // What follows a message must not overtake it, or the copy would be the original.
        let alone = copy.is_none() && conflicts.is_empty();
        if alone && self.held.is_none() && self.rng.random_bool(faults.reorder) {
            self.held = Some(message);
            return;
        }
        self.ready.push_back(message);
        self.ready.extend(copy);
        for (json, ledger) in conflicts {
            let topic = format!("simportal/sims/{}/usage", ledger.iccid);
            self.ready.push_back(Message { topic, payload: json.into(), records: vec![ledger], cut: false });
        }
        self.ready.extend(self.held.take());
    }

    fn element(&mut self, many: bool) -> Element {
        let faults = self.options.faults;
        let late = self.rng.random_bool(faults.late);
        let record = self.record(late);
        let kind = if late { RecordKind::Late } else { RecordKind::Good };
        let mut ledger = LedgerRecord {
            iccid: record.iccid.clone(),
            record_id: record.record_id.clone(),
            total_bytes: record.usage.total_bytes,
            kind,
        };
        if self.rng.random_bool(faults.malformed) {
            ledger.kind = RecordKind::Malformed;
            let json = if many {
                malformed::spoil_element(&record, &mut self.rng)
            } else {
                malformed::spoil(&record, &mut self.rng)
            };
            return Element { json, ledger, conflict: None };
        }
        let conflict = self.rng.random_bool(faults.conflict).then(|| {
            let mut other = record.clone();
            // The upload and the total grow alike, so that the record is consistent and only different.
            other.usage.total_bytes = (other.usage.total_bytes + 4096).min(MAX_AMOUNT);
            other.usage.data_upload_bytes += 4096;
            let total_bytes = other.usage.total_bytes;
            (other.to_json(), LedgerRecord { total_bytes, kind: RecordKind::Conflict, ..ledger.clone() })
        });
        Element { json: record.to_json(), ledger, conflict }
    }

    fn record(&mut self, late: bool) -> UsageRecord {
        let slot = self.cursor % self.members.len();
        self.cursor += 1;
        let (index, last_end) = self.members[slot];
        let now = self.options.clock.now();
        let now = now.duration_trunc(TimeDelta::milliseconds(1)).unwrap_or(now);
        let (mut start, mut end) = (last_end.min(now), now);
        self.members[slot].1 = end;
        if late {
            let back = TimeDelta::days(self.rng.random_range(LATE_DAYS));
            (start, end) = (start - back, end - back);
        }
        let sim = &self.options.fleet.sims()[index as usize];
        let hours = self.options.amounts_for.num_seconds() as f64 / 3600.0;
        let usage = sim.kind.usage(&mut self.rng, start, hours);
        let record_id = UsageRecord::id(&sim.iccid, start, &self.options.run_id, self.sequence);
        self.sequence += 1;
        UsageRecord {
            record_id,
            iccid: sim.iccid.clone(),
            period_start: start,
            period_end: end,
            usage,
            source: "simulator",
            mccmnc: sim.serving.mccmnc,
        }
    }

    fn envelope(&self, payloads: &[Vec<u8>]) -> Vec<u8> {
        #[derive(serde::Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Envelope<'a> {
            batch_id: String,
            source: &'static str,
            records: Vec<&'a RawValue>,
        }
        fn raw(json: &[u8]) -> &RawValue {
            serde_json::from_slice(json).expect("elements of a batch are always JSON")
        }
        let envelope = Envelope {
            batch_id: format!("{}-{}-{}", self.options.run_id, self.connection, self.sequence),
            source: "simulator",
            records: payloads.iter().map(|json| raw(json)).collect(),
        };
        serde_json::to_vec(&envelope).expect("text and raw JSON always serialize")
    }
}

/// The same bytes again. What was malformed the first time stays malformed.
fn repeated(message: &Message) -> Message {
    let kind = |kind| if kind == RecordKind::Malformed { kind } else { RecordKind::Duplicate };
    let records = message.records.iter();
    let records = records.map(|record| LedgerRecord { kind: kind(record.kind), ..record.clone() }).collect();
    Message { records, cut: false, ..message.clone() }
}
