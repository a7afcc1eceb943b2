use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Timelike, Utc};
use simbridge::domain::Clock;
use simulator::fleet::Fleet;

use crate::database::fleet;

/// The rows that every contender loads: SIM after SIM, as the load generator publishes them.
pub(crate) struct Workload {
    pub(crate) rows: Vec<Row>,
}

#[derive(Clone)]
pub(crate) struct Row {
    pub(crate) iccid: Arc<str>,
    pub(crate) record_id: String,
    pub(crate) period_start: DateTime<Utc>,
    pub(crate) upload: i64,
    pub(crate) download: i64,
}

impl Row {
    /// Start and end as RFC 3339.
    pub(crate) fn period(&self) -> (String, String) {
        let text = |at: DateTime<Utc>| at.format("%Y-%m-%dT%H:%M:%SZ").to_string();
        (text(self.period_start), text(self.period_start + TimeDelta::minutes(5)))
    }
}

impl Workload {
    pub(crate) fn new(round: usize, sims: usize, records: usize) -> Self {
        let now = Clock::System.now().with_nanosecond(0).expect("zero is a nanosecond");
        let fleet = Fleet::generate(fleet(sims));
        let iccids: Vec<Arc<str>> = fleet.sims().iter().map(|sim| sim.iccid.as_str().into()).collect();
        let rows = (0..records)
            .map(|n| Row {
                iccid: iccids[n % sims].clone(),
                record_id: format!("{}-bench-{round}-{n:09}", iccids[n % sims]),
                period_start: now - TimeDelta::minutes((n / sims) as i64 * 5 + 5),
                upload: 1_000 + (n % 977) as i64,
                download: 50_000 + (n % 7_901) as i64,
            })
            .collect();
        Self { rows }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Each row as (ICCID, JSON).
    pub(crate) fn payloads(&self) -> Vec<(String, Bytes)> {
        self.rows
            .iter()
            .map(|row| {
                let json = format!(
                    concat!(
                        r#"{{"recordId":"{}","iccid":"{}","periodStart":"{}","periodEnd":"{}","#,
                        r#""usage":{{"totalBytes":{},"dataUploadBytes":{},"dataDownloadBytes":{}}},"source":"bench"}}"#
                    ),
                    row.record_id,
                    row.iccid,
                    row.period().0,
                    row.period().1,
                    row.upload + row.download,
                    row.upload,
                    row.download,
                );
                (row.iccid.to_string(), Bytes::from(json))
            })
            .collect()
    }
}
