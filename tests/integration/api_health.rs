//! Health over HTTP (contract §4).

use serde_json::json;
use simbridge::domain::Clock;

use crate::harness::api::TestApi;
use crate::harness::database::TestDatabase;
use crate::harness::eventually;
use crate::harness::pipeline::time;
use crate::harness::proxy::Proxy;

const NOW: &str = "2026-03-10T12:00:00Z";

/// Catches a health check that needs a key, and one that waits for a database that is away.
#[tokio::test]
async fn health_says_whether_the_database_answers() {
    let database = TestDatabase::new().await;
    let proxy = Proxy::to(&database.name).await;
    let clock = Clock::Fixed(time(NOW));
    let api = TestApi::start_with(&database, clock, false, |config| config.database.url = proxy.url()).await;
    let (portal, resource) = (api.get("/api/health").await, api.get("/api/v1/health").await);
    assert_eq!((portal.status, portal.json()), (200, json!({"status": "ok", "database": "connected"})));
    assert_eq!((resource.status, resource.json()), (200, json!({"status": "healthy", "timestamp": NOW})));
    proxy.refuse();
    let away = eventually("the outage is seen", async || {
        let answer = api.get("/api/health").await;
        (answer.status != 200).then_some(answer)
    });
    let away = away.await;
    assert_eq!((away.status, away.json()), (500, json!({"status": "error", "database": "disconnected"})));
    let away = api.get("/api/v1/health").await;
    assert_eq!((away.status, away.json()), (503, json!({"status": "unhealthy", "timestamp": NOW})));
    proxy.open();
    eventually("it is back", async || (api.get("/api/v1/health").await.status == 200).then_some(())).await;
    api.close().await;
}
