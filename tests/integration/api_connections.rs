//! POSTs while the database is away, the client hangs up or the program stops: nothing is lost and nothing invented.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use simbridge::api::DEMO_KEY;
use simbridge::domain::Clock;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::api::{Answer, TestApi, sent};
use crate::harness::database::{TestDatabase, sim};
use crate::harness::eventually;
use crate::harness::pipeline::time;
use crate::harness::proxy::Proxy;

const ICCID: &str = "8941000000000000001";
const NOW: &str = "2026-03-10T12:00:00Z";
const AT: &str = "2026-03-10T11:00:00Z";
const PATH: &str = "/api/v1/usage";

fn record(record_id: &str) -> Value {
    json!({"recordId": record_id, "iccid": ICCID, "periodStart": AT, "periodEnd": AT, "usage": {"totalBytes": 1}})
}

/// In demo mode, whose key needs no database; a POST waits for its COMMIT for `wait_ms`.
async fn behind_a_proxy(wait_ms: u64) -> (TestDatabase, Proxy, TestApi) {
    let database = TestDatabase::new().await;
    database.import_at(NOW, &[sim(ICCID)]).await;
    let proxy = Proxy::to(&database.name).await;
    let api = TestApi::start_with(&database, Clock::Fixed(time(NOW)), true, |config| {
        config.database.url = proxy.url();
        config.http.post_timeout_ms = wait_ms;
    })
    .await;
    assert_eq!(api.post_as(DEMO_KEY, PATH, &record("before")).await.status, 202);
    (database, proxy, api)
}

fn unavailable(answer: &Answer, message: &str) {
    let id = answer.header("x-request-id").expect("an id");
    let expected = json!({"error": {"code": "SERVICE_UNAVAILABLE", "message": message, "requestId": id}, "message": message});
    assert_eq!((answer.status, answer.json()), (503, expected));
    assert_eq!(answer.header("retry-after"), Some("5"));
}

const UNDECIDED: &str =
    "this was taken over and is not stored yet; send the same again, what was stored then is a duplicate";
const UNAVAILABLE: &str = "this cannot be done at the moment; send the same request again";

/// Catches a POST that hangs for as long as the outage, one that is answered 202 without a COMMIT, and a queue that fills with
/// what clients send again and again.
#[tokio::test]
async fn a_post_during_an_outage_is_answered_in_time_and_may_be_sent_again() {
    let (database, proxy, api) = behind_a_proxy(300).await;
    proxy.refuse();
    unavailable(&api.post_as(DEMO_KEY, PATH, &record("r-1")).await, UNDECIDED);
    // From now on the outage is known.
    for path in [PATH, "/api/v1/usage/batch"] {
        let body =
            if path == PATH { record("r-1") } else { json!({"batchId": "b", "records": [record("r-2")]}) };
        unavailable(&api.post_as(DEMO_KEY, path, &body).await, UNAVAILABLE);
    }
    let body = json!({"iccid": ICCID, "billingCycleId": "2026-03", "cycleStart": "2026-03-01T00:00:00Z", "cycleEnd": "2026-04-01T00:00:00Z"});
    unavailable(&api.post_as(DEMO_KEY, "/api/v1/usage/reset", &body).await, UNAVAILABLE);
    let keyed = api.request(Method::POST, PATH).bearer_auth(DEMO_KEY).header("Idempotency-Key", "k");
    unavailable(&sent(keyed.json(&record("r-1"))).await, UNAVAILABLE);
    assert_eq!(api.bridge.metrics.ingest.balance().in_flight, 1, "only the first one waits");
    assert_eq!(database.number("SELECT count(*) FROM usage_records").await, 1);

    proxy.open();
    let stored = "SELECT count(*) FROM usage_records";
    eventually("what waits is stored", async || (database.number(stored).await == 2).then_some(())).await;
    eventually("the outage is over", async || (api.get("/readyz").await.status == 200).then_some(())).await;
    let again = api.post_as(DEMO_KEY, PATH, &record("r-1")).await;
    assert_eq!((again.status, &again.json()["status"]), (202, &json!("DUPLICATE")));
    database.assert_reconciled().await;
    assert!(api.bridge.metrics.ingest.balance().holds());
    api.close().await;
}

/// Catches waiting for the driver's patience in place of the client's.
#[tokio::test]
async fn a_post_whose_commit_is_not_answered_is_told_so_in_time() {
    let (database, proxy, api) = behind_a_proxy(300).await;
    proxy.stall();
    let asked = tokio::time::Instant::now();
    unavailable(&api.post_as(DEMO_KEY, PATH, &record("r-1")).await, UNDECIDED);
    assert!(asked.elapsed() < Duration::from_secs(20), "the driver would wait for 30 seconds");
    proxy.open();
    let stored = "SELECT count(*) FROM usage_records";
    eventually("the writer goes on", async || (database.number(stored).await == 2).then_some(())).await;
    let again = api.post_as(DEMO_KEY, PATH, &record("r-1")).await;
    assert_eq!((again.status, &again.json()["status"]), (202, &json!("DUPLICATE")));
    database.assert_reconciled().await;
    api.close().await;
}

/// Catches half a body that is taken for a record, and one that holds something for ever.
#[tokio::test]
async fn a_client_that_hangs_up_in_its_body_leaves_nothing() {
    let (database, api) = with_sim().await;
    let key = api.key(&["usage:write"]).await;
    let body = record("r-1").to_string();
    for length in [body.len() - 1, 10, 0] {
        let mut socket = connect(&api).await;
        socket.write_all(head(&key, body.len()).as_bytes()).await.expect("it is read");
        socket.write_all(&body.as_bytes()[..length]).await.expect("it is read");
        drop(socket);
    }
    assert_eq!(api.post_as(&key, PATH, &record("r-2")).await.status, 202);
    assert_eq!(database.rows("SELECT record_id FROM usage_records").await, ["r-2"]);
    let balance = api.bridge.metrics.ingest.balance();
    assert_eq!((balance.received, balance.in_flight), (1, 0));
    api.close().await;
}

/// Catches giving up a record whose sender does not wait for the answer.
#[tokio::test]
async fn a_record_whose_client_hangs_up_before_the_answer_is_stored_or_not_received() {
    let (database, api) = with_sim().await;
    let key = api.key_with("default", &["usage:write"], &[("usage_single", 0)]).await;
    for n in 0..20 {
        let body = record(&format!("r-{n}")).to_string();
        let mut socket = connect(&api).await;
        socket.write_all((head(&key, body.len()) + &body).as_bytes()).await.expect("it is read");
        drop(socket);
    }
    let settled = async || {
        let balance = api.bridge.metrics.ingest.balance();
        (balance.in_flight == 0 && balance.holds()).then_some(balance)
    };
    assert_eq!(api.post_as(&key, PATH, &record("r-0")).await.status, 202);
    let balance = eventually("all are decided", settled).await;
    let stored = database.number("SELECT count(*) FROM usage_records").await;
    assert_eq!(u64::try_from(stored), Ok(balance.stored));
    database.assert_reconciled().await;
    api.close().await;
}

/// Catches a stop that drops what was taken over, and a 202 for what was not stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_soft_stop_during_posts_loses_nothing_that_was_accepted() {
    let (database, api) = with_sim().await;
    let key = api.key_with("default", &["usage:write"], &[("usage_single", 0)]).await;
    let clients = (0..8).map(|client| {
        let request = api.request(Method::POST, PATH).bearer_auth(&key);
        tokio::spawn(async move {
            let mut accepted = Vec::new();
            for n in 0.. {
                let id = format!("r-{client}-{n}");
                let request = request.try_clone().expect("no body yet").json(&record(&id));
                match request.send().await {
                    Ok(answer) if answer.status() == 202 => accepted.push(id),
                    Ok(answer) => {
                        assert_eq!(answer.status(), 503);
                        return accepted;
                    }
                    // The listener is gone.
                    Err(_) => return accepted,
                }
            }
            accepted
        })
    });
    let clients: Vec<_> = clients.collect();
    let flows = async || (api.bridge.metrics.ingest.balance().stored > 100).then_some(());
    eventually("records flow", flows).await;
    assert!(api.bridge.drain().await, "all of it was committed in time");
    api.close().await;
    let mut accepted = Vec::new();
    for client in clients {
        accepted.extend(client.await.expect("it ends well"));
    }
    let stored = database.rows("SELECT record_id FROM usage_records").await;
    let lost: Vec<_> = accepted.iter().filter(|id| !stored.contains(id)).collect();
    assert!(lost.is_empty(), "{lost:?}");
    database.assert_reconciled().await;
}

async fn with_sim() -> (TestDatabase, TestApi) {
    let database = TestDatabase::new().await;
    database.import_at(NOW, &[sim(ICCID)]).await;
    let api = TestApi::start_at(&database, NOW).await;
    (database, api)
}

async fn connect(api: &TestApi) -> TcpStream {
    TcpStream::connect(api.bridge.http_addr.expect("HTTP is on")).await.expect("it listens")
}

fn head(key: &str, length: usize) -> String {
    format!(
        "POST {PATH} HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n"
    )
}
