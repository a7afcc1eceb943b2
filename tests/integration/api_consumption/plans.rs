//! How answers are read: not from raw records.

use super::{NOW, READ, SALT_SIM, two_carriers};
use crate::harness::api::TestApi;
use crate::harness::database::TestDatabase;

/// Catches a panel that reads records: it would wait for the lock, and cost more with each of them.
#[tokio::test]
async fn no_panel_reads_raw_records() {
    let database = TestDatabase::new().await;
    two_carriers(&database).await;
    let api = TestApi::start_at(&database, NOW).await;
    let key = api.key(READ).await;
    database.run("BEGIN; LOCK TABLE usage_records IN ACCESS EXCLUSIVE MODE").await;
    let days = "start_date=2026-02-01&end_date=2026-03-10";
    for panel in [
        "kpis?",
        "carriers?",
        "carrier-locations?",
        "regional?",
        "usage-details?",
        "usage-details.csv?",
        "trends.csv?",
    ] {
        for filter in ["", "&mccmnc=22801", "&imsi=8941000000000000001"] {
            let answer = api.get_as(&key, &format!("/api/consumption/{panel}{days}{filter}")).await;
            assert_eq!(answer.status, 200, "{panel}{filter}");
        }
    }
    for panel in [
        "trends?granularity=hourly",
        "trends?granularity=daily",
        "unique-imsis",
        "invoices",
        "trends?mccmnc=22801",
    ] {
        assert_eq!(api.get_as(&key, &format!("/api/consumption/{panel}")).await.status, 200, "{panel}");
    }
    database.run("ROLLBACK").await;
    api.close().await;
}

/// Catches hours of one SIM that are looked for among the records of all.
#[tokio::test]
async fn hours_of_a_sim_are_found_by_the_key_of_its_records() {
    let database = TestDatabase::new().await;
    two_carriers(&database).await;
    database
        .run(
            "INSERT INTO usage_records (write_id, period_start, period_end, data_upload_bytes, data_download_bytes, total_bytes,
                                        key_tenant_id, tenant_id, iccid, record_id)
             SELECT 1, at, at, 0, 1, 1, 1, 1, (8941000000000001000 + n % 500)::text, 'bulk-' || n
             FROM generate_series(1, 20000) AS n CROSS JOIN LATERAL (SELECT timestamptz '2026-03-01Z' + n * interval '30 s' AS at) t;
             ANALYZE",
        )
        .await;
    let sql = include_str!("../../../src/store/sql/trend_sim_hours.sql");
    database.run(&format!("PREPARE hours (integer, timestamptz, integer, text[], text[]) AS {sql}")).await;
    for mode in ["force_custom_plan", "force_generic_plan"] {
        database.run(&format!("SET plan_cache_mode = {mode}")).await;
        let explain = format!("EXPLAIN EXECUTE hours (1, '2026-03-05Z', 24, ARRAY['{SALT_SIM}'], NULL)");
        let plan = database.rows(&explain).await.join("\n");
        assert!(plan.contains("usage_records"), "{plan}");
        assert!(!plan.contains("Seq Scan on usage_records"), "{plan}");
    }
}
