//! What is refused, and how it is told.

use reqwest::Method;
use serde_json::json;

use super::{NOW, READ};
use crate::harness::api::{TestApi, sent};
use crate::harness::database::TestDatabase;

/// Catches a range without bounds, and a fault that hides another one.
#[tokio::test]
async fn every_fault_of_a_question_is_told() {
    let database = TestDatabase::new().await;
    let api = TestApi::start_at(&database, NOW).await;
    let key = api.key(READ).await;
    let many =
        (0..501).map(|n| format!("imsi={}", 8_941_000_000_000_000_000_u64 + n)).collect::<Vec<_>>().join("&");
    let some =
        (0..21).map(|n| format!("imsi={}", 8_941_000_000_000_000_000_u64 + n)).collect::<Vec<_>>().join("&");
    let date = "must be a date such as 2026-11-21";
    for (question, told) in [
        ("trends?granularity=yearly".to_owned(), "granularity: must be one of hourly, 24h, daily, weekly, monthly".to_owned()),
        ("trends?start_date=2026-2-1&end_date=soon".into(), format!("start_date: {date}; end_date: {date}")),
        ("trends?start_date=2026-03-02&end_date=2026-03-01".into(), "end_date: must not be before start_date".into()),
        ("trends?granularity=hourly&start_date=2026-01-01&end_date=2026-02-01".into(), "start_date: 32 days are too many: at most 31 at once".into()),
        ("trends?granularity=daily&start_date=2025-01-01&end_date=2026-01-02".into(), "start_date: 367 days are too many: at most 366 at once".into()),
        ("trends?granularity=weekly&start_date=2024-01-01&end_date=2026-01-12".into(), "start_date: 743 days are too many: at most 742 at once".into()),
        ("trends?start_date=2020-01-01&end_date=2025-01-05".into(), "start_date: 1832 days are too many: at most 1830 at once".into()),
        ("trends?imsi=abc&mccmnc=1".into(), "imsi: `abc` is not 10 to 20 digits; mccmnc: `1` is not 5 to 6 digits".into()),
        (format!("trends?{many}"), "imsi: more than 500 values".into()),
        (format!("trends?granularity=24h&{some}"), "imsi: by hour at most 20 SIMs at once".into()),
        ("kpis?start_date=1999-12-31".into(), "start_date: must be a day of the years 2000 to 2100".into()),
        ("carriers?end_date=x".into(), format!("end_date: {date}")),
        ("carrier-locations?start_date=2020-01-01".into(), "start_date: 2261 days are too many: at most 1830 at once".into()),
        ("regional?mccmnc=abcde".into(), "mccmnc: `abcde` is not 5 to 6 digits".into()),
        ("usage-details".into(), "start_date: is required; end_date: is required".into()),
        ("usage-details?start_date=2026-03-01&end_date=2026-03-01&granularity=hourly&limit=10001&offset=-1".into(),
         "granularity: must be one of 24h, daily, weekly, monthly; limit: must be a whole number from 1 to 10000; \
          offset: must be a whole number from 0 to 1000000".into()),
        ("usage-details.csv?start_date=2026-03-01".into(), "end_date: is required".into()),
        ("unique-imsis?limit=0".into(), "limit: must be a whole number from 1 to 100000".into()),
        ("invoices?page=0&limit=101&status=open".into(),
         "page: must be a whole number from 1 to 100000; limit: must be a whole number from 1 to 100; \
          status: must be one of pending, paid, overdue, disputed".into()),
        ("invoices?start_date=2026-03-02&end_date=2026-03-01".into(), "end_date: must not be before start_date".into()),
    ] {
        let answer = api.get_as(&key, &format!("/api/consumption/{question}")).await;
        assert_eq!((answer.status, answer.json()), (400, json!({"success": false, "error": told})), "{question}");
    }
    api.close().await;
}

/// Catches a route that anybody may read, and demo mode that asks for a key.
#[tokio::test]
async fn reading_needs_the_permission_except_in_demo_mode() {
    const PATHS: [&str; 11] = [
        "kpis",
        "trends",
        "trends.csv",
        "carriers",
        "carriers.csv",
        "carrier-locations",
        "regional",
        "unique-imsis",
        "invoices",
        "usage-details?start_date=2026-03-01&end_date=2026-03-02",
        "usage-details.csv?start_date=2026-03-01&end_date=2026-03-02",
    ];
    let database = TestDatabase::new().await;
    let api = TestApi::start_at(&database, NOW).await;
    let key = api.key(&["usage:*", "sims:*"]).await;
    for path in PATHS.map(|path| format!("/api/consumption/{path}")) {
        assert_eq!(api.get(&path).await.status, 401, "{path}");
        let answer = api.get_as(&key, &path).await;
        let told = "this API key lacks the permission consumption:read";
        assert_eq!((answer.status, answer.json()), (403, json!({"success": false, "error": told})), "{path}");
    }
    let answer = sent(api.request(Method::POST, "/api/consumption/kpis")).await;
    assert_eq!(answer.status, 405);
    api.close().await;
    let demo = TestApi::demo(&database).await;
    for path in PATHS.map(|path| format!("/api/consumption/{path}")) {
        assert_eq!(demo.get(&path).await.status, 200, "{path}");
    }
    demo.close().await;
}
