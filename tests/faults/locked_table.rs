//! PostgreSQL answers, and a table that every batch needs is locked by somebody else.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::database_link::assert_patient;
use crate::effort::either;
use crate::harness::api::{Answer, client, sent};
use crate::harness::bridge::command_as;
use crate::harness::eventually;
use crate::harness::pipeline::record;
use crate::scene::Scene;

const ICCID: &str = "8941000000000000001";

/// 503, and when to come again.
fn assert_refused(answer: &Answer) {
    assert_eq!(answer.status, 503, "{}", answer.text);
    let seconds = answer.header("retry-after").and_then(|seconds| seconds.parse::<u64>().ok());
    assert!(seconds.is_some_and(|seconds| seconds > 0), "{:?}", answer.headers);
}

/// Catches attempts that pile up until the pool has no connection left for anybody else, reading on although the queue is
/// full, a POST that waits for ever or is told as stored, and an acknowledgement before the COMMIT.
///
/// The pool has three connections, the fewest that are accepted: one writer, and two for everybody else. The second lock
/// also keeps those waiting who only read the table, which may be both.
#[tokio::test(flavor = "multi_thread")]
async fn a_locked_table_pauses_devices_and_refuses_posts_and_readers_are_served() {
    let mut scene = Scene::set().await;
    scene.load.faults.duplicate = 0.0;
    for (key, value) in [
        ("ingest.writers", "1"),
        ("database.pool_size", "3"),
        ("ingest.queue_max_messages", "50"),
        ("mqtt.max_unacked_bytes_per_connection", "4096"),
        ("http.post_timeout_ms", "1000"),
    ] {
        scene.options.set(key, value);
    }
    let bridge = scene.bridge().await;
    let create = [
        "keys",
        "create",
        "meter",
        "--permission",
        "usage:write",
        "--permission",
        "consumption:read",
        "--limit",
        "usage_single=60000",
    ];
    let (code, key, told) = command_as(&scene.server.url(), &create).await;
    assert_eq!(code, Some(0), "{told}");
    let http = client();
    let post = async |n: usize| {
        let body: Value = serde_json::from_str(&record(&format!("post-{n}"), 0, 0, 7)).expect("JSON");
        let mut body = body;
        body["iccid"] = ICCID.into();
        let url = format!("http://{}/api/v1/usage", bridge.http);
        sent(http.post(url).bearer_auth(&key).json(&body)).await
    };
    assert_eq!(post(0).await.status, 202);
    let fleet = scene.fleet();
    fleet.more_acked(300).await;

    let locker = scene.server.client().await;
    let mut posts = 1;
    for mode in ["EXCLUSIVE", "ACCESS EXCLUSIVE"] {
        let lock = format!("BEGIN; LOCK TABLE usage_records IN {mode} MODE");
        locker.batch_execute(&lock).await.expect("a lock");
        let stored = "SELECT count(*) FROM usage_records";
        let stored: i64 = locker.query_one(stored, &[]).await.expect("it holds the lock").get(0);
        eventually("reading pauses", async || {
            (bridge.metric("simbridge_mqtt_paused_readers").await > 0.0).then_some(())
        })
        .await;
        eventually("it is noticed", async || (bridge.get("/readyz").await.0 == 503).then_some(())).await;
        let until = Instant::now() + Duration::from_secs(either(3, 60));
        while Instant::now() < until {
            let answers = tokio::join!(post(posts), post(posts + 1), post(posts + 2));
            posts += 3;
            for answer in [answers.0, answers.1, answers.2] {
                assert_refused(&answer);
            }
            assert!(fleet.acked() <= stored as u64, "more is acknowledged than is stored");
            assert_patient(&bridge, &fleet, Instant::now() + Duration::from_millis(200)).await;
            if mode == "EXCLUSIVE" {
                let charts = format!("http://{}/api/consumption/kpis", bridge.http);
                let answer = sent(http.get(charts).bearer_auth(&key)).await;
                assert_eq!(answer.status, 200, "who only reads is served: {}", answer.text);
            }
        }
        locker.batch_execute("ROLLBACK").await.expect("it is ours");
        fleet.more_acked(500).await;
        eventually("posts are taken again", async || (post(posts).await.status == 202).then_some(())).await;
        posts += 1;
    }
    let posts: Vec<_> = (0..posts).map(|n| ((ICCID.to_owned(), format!("post-{n}")), 7)).collect();
    scene.prove_with(fleet, bridge, &posts).await;
}
