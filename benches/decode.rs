//! What a record costs before it reaches the database: decoding, fingerprint, folding into a transaction.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use simbridge::domain::{Clock, Provenance, TenantId};
use simbridge::ingest::round::{Place, Round};
use simbridge::payload::{Envelope, PayloadLimits, decode};
use simbridge::store::NewRecord;

const ICCID: &str = "8941000000000000001";

fn limits() -> PayloadLimits {
    PayloadLimits { max_records: 1_000, max_future: TimeDelta::hours(24), max_age: TimeDelta::days(400) }
}

fn envelope(now: DateTime<Utc>) -> Envelope<'static> {
    Envelope { tenant: TenantId(1), topic_iccid: Some(ICCID), own_iccid: None, may_correct: false, now }
}

fn record(n: usize, now: DateTime<Utc>) -> String {
    format!(
        concat!(
            r#"{{"recordId":"{}-1795237702-1-19a8c-{}","iccid":"{}","periodStart":"{}","periodEnd":"{}","#,
            r#""usage":{{"totalBytes":3456789,"dataUploadBytes":456789,"dataDownloadBytes":3000000,"smsCount":1}},"#,
            r#""source":"meter","mccmnc":"22801"}}"#
        ),
        ICCID,
        n,
        ICCID,
        (now - TimeDelta::minutes(5)).format("%Y-%m-%dT%H:%M:%SZ"),
        now.format("%Y-%m-%dT%H:%M:%SZ"),
    )
}

fn decoding(criterion: &mut Criterion) {
    let now = Clock::System.now();
    let limits = limits();
    let single = Bytes::from(record(1, now));
    let array = Bytes::from(format!("[{}]", (0..100).map(|n| record(n, now)).collect::<Vec<_>>().join(",")));
    let bad = Bytes::from(record(1, now).replace("3456789", "\"3456789\"").replace("22801", "x"));
    let mut group = criterion.benchmark_group("decode");
    for (name, payload, records) in
        [("single", &single, 1), ("array of 100", &array, 100), ("two faults", &bad, 1)]
    {
        group.throughput(Throughput::Elements(records));
        group.bench_function(name, |bencher| {
            bencher.iter(|| decode(black_box(payload), envelope(now), &limits));
        });
    }
    let good = decode(&single, envelope(now), &limits).elements.remove(0).result.expect("a good record");
    group.throughput(Throughput::Elements(1));
    group.bench_function("fingerprint", |bencher| bencher.iter(|| black_box(&good).fingerprint()));
}

fn batching(criterion: &mut Criterion) {
    let now = Clock::System.now();
    let arrived: Vec<(NewRecord, Place)> = (0..4_000)
        .map(|n| {
            // Every tenth record is a repetition.
            let payload = Bytes::from(record(n - usize::from(n % 10 == 9), now));
            let element = decode(&payload, envelope(now), &limits()).elements.remove(0);
            let record = element.result.expect("a good record");
            let provenance = Provenance {
                via: "mqtt",
                sender: Arc::from("bench"),
                topic: Arc::from("bench"),
                payload: element.raw,
            };
            let new = NewRecord { fingerprint: record.fingerprint(), record, provenance };
            (new, Place { message: n, element: 0 })
        })
        .collect();
    let mut group = criterion.benchmark_group("batching");
    group.throughput(Throughput::Elements(arrived.len() as u64));
    group.bench_function("fold 4000 records", |bencher| {
        bencher.iter_batched(|| arrived.clone(), Round::fold, BatchSize::LargeInput);
    });
}

criterion_group!(benches, decoding, batching);
criterion_main!(benches);
