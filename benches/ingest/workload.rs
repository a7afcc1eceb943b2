use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Timelike, Utc};
use simbridge::domain::Clock;

/// The rows that every contender loads.
pub(crate) struct Workload {
    pub(crate) rows: Vec<Row>,
}

#[derive(Clone)]
pub(crate) struct Row {
    pub(crate) sim: usize,
    pub(crate) record_id: String,
    pub(crate) period_start: DateTime<Utc>,
    pub(crate) upload: i64,
    pub(crate) download: i64,
}

pub(crate) fn iccid(sim: usize) -> String {
    format!("8941{sim:015}")
}

impl Workload {
    pub(crate) fn new(round: u64, sims: usize, records: usize) -> Self {
        let now = Clock::System.now().with_nanosecond(0).expect("zero is a nanosecond");
        let rows = (0..records)
            .map(|n| Row {
                // A large odd step visits the SIMs in an order that no index likes.
                sim: (n * 7_919 + 13) % sims,
                record_id: format!("bench-{round}-{n:09}"),
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
                    iccid(row.sim),
                    row.period_start.format("%Y-%m-%dT%H:%M:%SZ"),
                    (row.period_start + TimeDelta::minutes(5)).format("%Y-%m-%dT%H:%M:%SZ"),
                    row.upload + row.download,
                    row.upload,
                    row.download,
                );
                (iccid(row.sim), Bytes::from(json))
            })
            .collect()
    }
}
