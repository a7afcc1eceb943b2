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
        let usage = sim.usage(&mut self.rng, start, hours);
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

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use chrono::TimeZone;
    use serde_json::Value;

    use super::*;
    use crate::clock::Clock;
    use crate::faults::FaultPlan;
    use crate::fleet::{Fleet, FleetSpec};

    fn noon() -> DateTime<Utc> {
        Utc.with_ymd_and_hms(2026, 11, 20, 12, 0, 0).unwrap()
    }

    fn messages(faults: &str, records: u64, records_per_message: u16) -> Vec<Message> {
        let fleet = Arc::new(Fleet::generate(FleetSpec { sims: 20, seed: 1 }));
        let sims = fleet.publishing();
        let options = PublisherOptions {
            faults: faults.parse::<FaultPlan>().unwrap(),
            records_per_message,
            clock: Clock::fixed(noon()),
            ..PublisherOptions::new("localhost", 1883, fleet, "test".parse().unwrap())
        };
        let budget = Arc::new(Budget::new(Some(records)));
        let mut feed = Feed::new(Arc::new(options), budget, 0, &sims);
        std::iter::from_fn(|| feed.next()).collect()
    }

    fn kinds(messages: &[Message]) -> HashMap<RecordKind, usize> {
        let mut kinds = HashMap::new();
        for record in messages.iter().flat_map(|message| &message.records) {
            *kinds.entry(record.kind).or_default() += 1;
        }
        kinds
    }

    #[test]
    fn without_faults_every_record_is_good_unique_and_on_its_own_sims_topic() {
        let messages = messages("", 500, 1);
        assert_eq!(kinds(&messages), HashMap::from([(RecordKind::Good, 500)]));
        let mut ids = HashSet::new();
        for message in &messages {
            let json: Value = serde_json::from_slice(&message.payload).unwrap();
            assert_eq!(message.topic, format!("simportal/sims/{}/usage", json["iccid"].as_str().unwrap()));
            assert_eq!(json["recordId"], message.records[0].record_id);
            assert_eq!(json["usage"]["totalBytes"], message.records[0].total_bytes);
            assert!(ids.insert(message.records[0].record_id.clone()));
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_messages_also_with_faults() {
        let faults = "duplicate=0.1,late=0.1,reorder=0.1,malformed=0.1,conflict=0.1,cut=0.1";
        let payloads = || messages(faults, 300, 1).into_iter().map(|message| message.payload);
        assert!(payloads().eq(payloads()));
    }

    #[test]
    fn a_duplicate_has_the_same_bytes_and_follows_the_original() {
        let messages = messages("duplicate=1", 50, 1);
        assert_eq!(messages.len(), 100);
        for pair in messages.chunks(2) {
            assert_eq!(pair[0].payload, pair[1].payload);
            assert_eq!(
                pair.iter().map(|message| message.records[0].kind).collect::<Vec<_>>(),
                [RecordKind::Good, RecordKind::Duplicate]
            );
        }
    }

    #[test]
    fn a_conflict_has_the_same_identity_and_another_total_and_follows_the_original() {
        for pair in messages("conflict=1,reorder=1", 50, 1).chunks(2) {
            let [good, conflict] = [&pair[0].records[0], &pair[1].records[0]];
            assert_eq!((good.kind, conflict.kind), (RecordKind::Good, RecordKind::Conflict));
            assert_eq!((&good.iccid, &good.record_id), (&conflict.iccid, &conflict.record_id));
            assert_ne!(good.total_bytes, conflict.total_bytes);
        }
    }

    #[test]
    fn a_late_record_is_days_old_and_otherwise_like_any_other() {
        for message in messages("late=1", 100, 1) {
            let json: Value = serde_json::from_slice(&message.payload).unwrap();
            let end = DateTime::parse_from_rfc3339(json["periodEnd"].as_str().unwrap()).unwrap();
            let age = noon() - end.to_utc();
            assert!(age >= TimeDelta::days(LATE_DAYS.start) && age < TimeDelta::days(LATE_DAYS.end));
            assert_eq!(message.records[0].kind, RecordKind::Late);
        }
    }

    #[test]
    fn reordering_changes_the_order_and_loses_nothing() {
        let ids = |messages: Vec<Message>| -> Vec<u64> {
            let number = |message: &Message| message.records[0].record_id.rsplit('-').next().unwrap().parse();
            messages.iter().map(|message| number(message).unwrap()).collect()
        };
        let mut reordered = ids(messages("reorder=0.2", 200, 1));
        assert!(!reordered.is_sorted());
        reordered.sort_unstable();
        assert_eq!(reordered, (0..200).collect::<Vec<_>>());
    }

    #[test]
    fn a_batch_holds_its_records_in_the_contracts_envelope_and_fits_a_packet() {
        let messages = messages("malformed=0.1", 1_200, 500);
        assert_eq!(messages.iter().map(|message| message.records.len()).collect::<Vec<_>>(), [500, 500, 200]);
        for message in messages {
            assert_eq!(message.topic, "simportal/sims/usage/batch");
            assert!(message.payload.len() < 256 * 1024, "{} bytes", message.payload.len());
            let json: Value = serde_json::from_slice(&message.payload).unwrap();
            assert_eq!(json["records"].as_array().unwrap().len(), message.records.len());
            assert!(json["batchId"].is_string());
        }
    }
}
