//! More rows than fit into an answer.

use reqwest::Method;
use serde_json::Value;

use super::READ;
use crate::harness::api::{TestApi, sent};
use crate::harness::database::TestDatabase;

const NOW: &str = "2026-03-10T12:00:00Z";

/// 5,100 SIMs on two days, each in one of two networks.
async fn many(database: &TestDatabase) {
    database
        .run(
            "INSERT INTO usage_records (write_id, period_start, period_end, data_upload_bytes, data_download_bytes, total_bytes,
                                        key_tenant_id, tenant_id, iccid, record_id, mccmnc)
             SELECT 9, at, at, 0, n, n, 1, 1, (8941000000000000000 + n)::text, 'r-' || day, (22801 + n % 2)::text
             FROM generate_series(1, 5100) AS n CROSS JOIN generate_series(8, 9) AS day
             CROSS JOIN LATERAL (SELECT timestamptz '2026-03-01T10:00:00Z' + day * interval '1 day' AS at) AS t;
             INSERT INTO rollup_markers (write_id, period_from, period_to, record_count)
             VALUES (9, '2026-03-09T10:00:00Z', '2026-03-10T10:00:00Z', 10200); SELECT aggregate_usage_to_daily(); ANALYZE",
        )
        .await;
}

fn rows(answer: &Value) -> Vec<Value> {
    answer["data"].as_array().expect("rows").clone()
}

/// Catches an export that ends with its first page, leaves out the row between two pages, or brings it twice.
#[tokio::test]
async fn an_export_has_every_row_and_an_answer_says_when_it_has_not() {
    let database = TestDatabase::new().await;
    many(&database).await;
    let api = TestApi::start_at(&database, NOW).await;
    let key = api.key(READ).await;
    for (range, granularity, expected) in [
        ("start_date=2026-03-09&end_date=2026-03-10", "daily", 10_200),
        ("start_date=2026-03-08&end_date=2026-03-10", "weekly", 10_200),
        ("start_date=2026-03-01&end_date=2026-03-31", "monthly", 5_100),
        ("start_date=2026-03-01&end_date=2026-03-31&mccmnc=22802", "monthly", 2_550),
    ] {
        let ask = async |path: &str, more: &str| {
            let path = format!("/api/consumption/{path}?granularity={granularity}&{range}{more}");
            api.get_as(&key, &path).await
        };
        // 9 March is a Monday: the 8th, a week of its own, has no rows.
        let expected = if granularity == "weekly" { expected / 2 } else { expected };
        let first = ask("usage-details", "").await.json();
        assert_eq!(first["truncated"], expected > 10_000, "{range}");
        let mut all = rows(&first);
        assert_eq!(all.len(), expected.min(10_000));
        if expected > 10_000 {
            all.extend(rows(&ask("usage-details", "&offset=10000").await.json()));
        }
        assert_eq!(all.len(), expected);
        let csv = ask("usage-details.csv", "").await.text;
        let lines: Vec<&str> = csv.split_terminator("\r\n").skip(1).collect();
        assert_eq!(lines.len(), expected, "{range}");
        for (line, row) in lines.iter().zip(&all) {
            let text = |column: &str| row[column].as_str().unwrap_or("").to_owned();
            let period = format!("{}{}", text("day"), text("month"));
            let told = format!(
                "{},{},{},{period},{}",
                text("imsi"),
                text("mccmnc"),
                row["bytes"],
                text("latestEventAt")
            );
            assert_eq!(*line, told);
        }
        let mut pages = Vec::new();
        for offset in (0..expected).step_by(3_000) {
            pages.extend(rows(&ask("usage-details", &format!("&limit=3000&offset={offset}")).await.json()));
        }
        assert!(pages == all, "{range}: pages differ from the whole");
    }
    api.close().await;
}

/// Catches a compressed body that is sent to whom cannot read it, and one that says something else.
#[tokio::test]
async fn a_long_answer_is_the_same_compressed() {
    let database = TestDatabase::new().await;
    many(&database).await;
    let api = TestApi::start_at(&database, NOW).await;
    let key = api.key(READ).await;
    for _ in 0..2 {
        let mut texts = Vec::new();
        for coding in ["identity", "gzip", "gzip;q=0"] {
            let request =
                api.request(Method::GET, "/api/consumption/unique-imsis?limit=5000").bearer_auth(&key);
            let answer = sent(request.header("Accept-Encoding", coding)).await;
            assert_eq!(answer.status, 200);
            let mut body = answer.json();
            body["cached"] = Value::Null;
            assert_eq!((rows(&body).len(), &body["truncated"]), (5_000, &Value::Bool(true)), "{coding}");
            texts.push(body);
        }
        assert!(texts.windows(2).all(|pair| pair[0] == pair[1]));
    }
    api.close().await;
}
