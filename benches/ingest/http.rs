use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use simbridge::api::{hash_key, make_key};

use crate::database::BenchDatabase;
use crate::program::Program;
use crate::workload::Workload;

/// Records of one POST, the most that the contract allows.
const BATCH: usize = 1_000;
/// Clients that post, each the next batch when its last one was answered.
const CLIENTS: usize = 4;

/// Posts the workload in batches and waits for every answer: how long all took, and the median of one.
pub(crate) async fn post(
    database: &BenchDatabase,
    program: &Program,
    workload: &Workload,
) -> (Duration, Duration) {
    rustls::crypto::ring::default_provider().install_default().ok();
    let key = make_key();
    let unlimited = HashMap::from([("usage_batch".to_owned(), 0)]);
    let granted = ["usage:write".parse().expect("a permission")];
    let added = database.store.add_api_key("default", "bench", &hash_key(&key), &granted, &unlimited).await;
    added.expect("it is stored").expect("the tenant exists");
    let bodies: Arc<Vec<String>> =
        Arc::new(workload.payloads().chunks(BATCH).enumerate().map(body).collect());
    let (client, next) =
        (Client::builder().no_proxy().build().expect("a client"), Arc::new(AtomicUsize::new(0)));
    let started = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (client, next, bodies, key) = (client.clone(), next.clone(), bodies.clone(), key.clone());
            let url = format!("http://{}/api/v1/usage/batch", program.http);
            tokio::spawn(async move {
                let mut took = Vec::new();
                while let Some(body) = bodies.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let sent = Instant::now();
                    let request =
                        client.post(&url).bearer_auth(&key).header("Content-Type", "application/json");
                    let answer = request.body(body.clone()).send().await.expect("an answer");
                    assert_eq!(answer.status().as_u16(), 202);
                    let outcome: Value = answer.json().await.expect("JSON");
                    assert_eq!(outcome["recordsFailed"], 0, "{outcome}");
                    took.push(sent.elapsed());
                }
                took
            })
        })
        .collect();
    let mut took = Vec::new();
    for client in clients {
        took.extend(client.await.expect("no panic"));
    }
    let elapsed = started.elapsed();
    took.sort_unstable();
    (elapsed, took[took.len() / 2])
}

fn body((number, chunk): (usize, &[(String, bytes::Bytes)])) -> String {
    let records: Vec<&RawValue> =
        chunk.iter().map(|(_, record)| serde_json::from_slice(record).expect("a record")).collect();
    json!({"batchId": format!("b-{number}"), "records": records}).to_string()
}
