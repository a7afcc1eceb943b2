//! Which of the records at hand go into one transaction.

use crate::domain::RecordKey;
use crate::store::NewRecord;

/// Where a record came from: message and element within what a writer took from the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub message: usize,
    pub element: usize,
}

/// One transaction's records, sorted by key, no key twice.
#[derive(Debug, Default)]
pub struct Round {
    pub records: Vec<NewRecord>,
    /// For each record the places that sent it, the first one first.
    pub places: Vec<(usize, Place)>,
    /// What has to wait for this round's commit: other content under a key of this round, which the key table then
    /// decides about, and corrections of this round's records. In the order of arrival.
    pub later: Vec<(NewRecord, Place)>,
}

impl Round {
    /// Folds repetitions of a record into one. `arrived` is in the order of arrival.
    pub fn fold(arrived: Vec<(NewRecord, Place)>) -> Self {
        // Indices are sorted instead of records, which take some hundred bytes each. Stable, so that of equal keys the one that
        // came first is stored.
        let mut order: Vec<usize> = (0..arrived.len()).collect();
        order.sort_by(|a, b| arrived[*a].0.record.key.cmp(&arrived[*b].0.record.key));
        let mut arrived: Vec<_> = arrived.into_iter().map(Some).collect();
        let mut round = Self { records: Vec::with_capacity(order.len()), ..Self::default() };
        for (new, place) in order.into_iter().filter_map(|at| arrived[at].take()) {
            match round.records.last() {
                Some(kept) if kept.record.key == new.record.key => {
                    if kept.fingerprint == new.fingerprint {
                        round.places.push((round.records.len() - 1, place));
                    } else {
                        round.later.push((new, place));
                    }
                }
                _ => {
                    round.places.push((round.records.len(), place));
                    round.records.push(new);
                }
            }
        }
        round.defer_corrections();
        round.later.sort_by_key(|(_, place)| *place);
        round
    }

    /// A correction is checked against what is stored, so it cannot stand beside the record that it corrects. It does not
    /// wait for another correction, which cannot be corrected: two that name each other would wait for ever.
    fn defer_corrections(&mut self) {
        let waits =
            |new: &NewRecord| new.record.corrects.as_ref().is_some_and(|id| self.holds_original(new, id));
        let waiting: Vec<bool> = self.records.iter().map(waits).collect();
        if !waiting.contains(&true) {
            return;
        }
        let mut staying = Vec::with_capacity(self.records.len());
        // For each record its place among those that stay, or itself when it waits.
        let mut fates = Vec::with_capacity(self.records.len());
        for (new, waits) in std::mem::take(&mut self.records).into_iter().zip(waiting) {
            if waits {
                fates.push(Err(new));
            } else {
                fates.push(Ok(staying.len()));
                staying.push(new);
            }
        }
        self.records = staying;
        for (of, place) in std::mem::take(&mut self.places) {
            match &fates[of] {
                Ok(of) => self.places.push((*of, place)),
                Err(new) => self.later.push((new.clone(), place)),
            }
        }
    }

    fn holds_original(&self, correction: &NewRecord, target: &str) -> bool {
        let key = RecordKey { record_id: target.to_owned(), ..correction.record.key.clone() };
        let found = self.records.binary_search_by(|new| new.record.key.cmp(&key));
        found.is_ok_and(|at| self.records[at].record.corrects.is_none())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use chrono::DateTime;

    use super::*;
    use crate::domain::{Amounts, Iccid, Provenance, TenantId, Usage, UsageRecord};

    fn new(record_id: &str, total_bytes: i64, corrects: Option<&str>) -> NewRecord {
        let record = UsageRecord {
            key: RecordKey {
                tenant: TenantId(1),
                iccid: Iccid::parse("8941000000000000001").unwrap(),
                record_id: record_id.into(),
            },
            period_start: DateTime::UNIX_EPOCH,
            period_end: DateTime::UNIX_EPOCH,
            usage: Usage::Amounts(Amounts { total_bytes, ..Amounts::default() }),
            total_mismatch: false,
            mccmnc: None,
            corrects: corrects.map(str::to_owned),
            source: None,
            batch_id: None,
        };
        let provenance = Provenance {
            via: "mqtt",
            sender: Arc::from("test"),
            topic: Arc::from(""),
            payload: Bytes::new(),
        };
        NewRecord { fingerprint: record.fingerprint(), record, provenance }
    }

    fn fold(records: Vec<NewRecord>) -> Round {
        let arrived = records.into_iter().enumerate();
        Round::fold(arrived.map(|(message, new)| (new, Place { message, element: 0 })).collect())
    }

    fn ids(round: &Round) -> Vec<&str> {
        round.records.iter().map(|new| new.record.key.record_id.as_str()).collect()
    }

    #[test]
    fn a_repetition_is_folded_into_the_first_and_other_content_waits() {
        let round = fold(vec![new("b", 1, None), new("a", 2, None), new("b", 1, None), new("b", 9, None)]);
        assert_eq!(ids(&round), ["a", "b"]);
        let messages: Vec<_> = round.places.iter().map(|(of, place)| (*of, place.message)).collect();
        assert_eq!(messages, [(0, 1), (1, 0), (1, 2)]);
        let later: Vec<_> = round.later.iter().map(|(_, place)| place.message).collect();
        assert_eq!(later, [3]);
    }

    #[test]
    fn a_correction_waits_for_the_record_that_it_corrects() {
        let round = fold(vec![new("a-fix", -1, Some("a")), new("a", 2, None), new("c-fix", -1, Some("c"))]);
        assert_eq!(ids(&round), ["a", "c-fix"]);
        let messages: Vec<_> = round.places.iter().map(|(of, place)| (*of, place.message)).collect();
        assert_eq!(messages, [(0, 1), (1, 2)]);
        let later: Vec<_> = round.later.iter().map(|(_, place)| place.message).collect();
        assert_eq!(later, [0]);
    }

    /// Catches a round that stores nothing and leaves everything for later: the writer would go round for ever.
    #[test]
    fn corrections_that_name_each_other_or_themselves_wait_for_nothing() {
        let round = fold(vec![new("a", -1, Some("b")), new("b", -1, Some("a")), new("c", -1, Some("c"))]);
        assert_eq!(ids(&round), ["a", "b", "c"]);
        assert!(round.later.is_empty());
    }

    /// Catches deciding by what happened to be put aside first.
    #[test]
    fn what_waits_keeps_the_order_of_arrival() {
        let arrived = vec![new("fix", -1, Some("a")), new("a", 5, None), new("fix", -2, Some("a"))];
        let round = fold(arrived);
        let later: Vec<_> = round.later.iter().map(|(_, place)| place.message).collect();
        assert_eq!(later, [0, 2]);
        assert_eq!(ids(&Round::fold(round.later)), ["fix"]);
    }
}
