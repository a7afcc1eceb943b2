//! A batch's sums by cycle.

use std::collections::BTreeMap;

use crate::domain::Amounts;

use super::batch::NewRecord;
use super::directory::Placement;

/// Columns of add_totals.sql, sorted by SIM and cycle.
#[derive(Default)]
pub(super) struct Totals<'r> {
    pub(super) sim_ids: Vec<&'r str>,
    pub(super) iccids: Vec<&'r str>,
    pub(super) cycle_ids: Vec<&'r str>,
    pub(super) uploads: Vec<i64>,
    pub(super) downloads: Vec<i64>,
    pub(super) totals: Vec<i64>,
    pub(super) sms_counts: Vec<i64>,
    pub(super) voice_seconds: Vec<i64>,
    pub(super) record_counts: Vec<i64>,
}

impl<'r> Totals<'r> {
    pub(super) fn of(records: &[&'r NewRecord], placements: &'r [Placement], amounts: &[Amounts]) -> Self {
        let mut sums: BTreeMap<(&str, &str), (&str, Amounts, i64)> = BTreeMap::new();
        for ((new, placement), amounts) in records.iter().zip(placements).zip(amounts) {
            let Some(owned) = &placement.owned else { continue };
            let sum = sums
                .entry((&owned.sim_id, &owned.cycle_id))
                .or_insert_with(|| (new.record.key.iccid.as_str(), Amounts::default(), 0));
            // A batch has at most some 20,000 records of at most 2^45 each: no sum leaves 64 bits.
            sum.1.upload_bytes += amounts.upload_bytes;
            sum.1.download_bytes += amounts.download_bytes;
            sum.1.total_bytes += amounts.total_bytes;
            sum.1.sms_count += amounts.sms_count;
            sum.1.voice_seconds += amounts.voice_seconds;
            sum.2 += 1;
        }
        let mut totals = Self::default();
        for ((sim_id, cycle_id), (iccid, sum, records)) in sums {
            totals.sim_ids.push(sim_id);
            totals.iccids.push(iccid);
            totals.cycle_ids.push(cycle_id);
            totals.uploads.push(sum.upload_bytes);
            totals.downloads.push(sum.download_bytes);
            totals.totals.push(sum.total_bytes);
            totals.sms_counts.push(sum.sms_count);
            totals.voice_seconds.push(sum.voice_seconds);
            totals.record_counts.push(records);
        }
        totals
    }

    pub(super) fn len(&self) -> usize {
        self.sim_ids.len()
    }
}
