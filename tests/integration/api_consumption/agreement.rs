//! Three tenants with the same SIMs and record ids: every panel of each says the same of the same question, and what its
//! raw records say.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use simbridge::domain::TenantId;
use simbridge::ingest::queue::{Sender, Via};

use super::{MB, READ, on_plan, record_in};
use crate::harness::api::TestApi;
use crate::harness::database::{TENANT, TestDatabase};
use crate::harness::pipeline::{TestPipeline, decided, time};

const NOW: &str = "2026-04-20T12:00:00Z";
const NETWORKS: [Option<&str>; 4] = [Some("22801"), Some("22802"), Some("310260"), None];

/// ICCIDs of a tenant's own SIMs, and some that nobody provisioned and all of them report.
fn iccids(tenant: TenantId) -> Vec<String> {
    let own = (0..6).map(|n| format!("894100000000000{:02}{n:02}", tenant.0));
    own.chain((0..3).map(|n| format!("89410000000000099{n:02}"))).collect()
}

async fn fill(database: &TestDatabase, tenants: &[(TenantId, &str)], random: &mut StdRng) {
    for (tenant, _) in tenants {
        let plans = [("flat", "0.37", 0), ("pool", "1.13", 40 * MB), ("none", "0", 0)];
        let row = |(n, iccid): (usize, &String)| {
            let (plan, price, included) = plans[n % 3];
            on_plan(iccid, ["Salt", "Sunrise"][n % 2], ["22803", "22802"][n % 2], plan, price, included)
        };
        let rows: Vec<_> = iccids(*tenant)[..6].iter().enumerate().map(row).collect();
        database.store.import_sims(*tenant, &rows, time("2026-01-01T00:00:00Z")).await.expect("an import");
    }
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    for (tenant, _) in tenants {
        for iccid in iccids(*tenant) {
            let mut records = Vec::new();
            for n in 0..60 {
                let at = time("2026-01-10T00:00:00Z")
                    + chrono::TimeDelta::seconds(random.random_range(0..8_000_000));
                let bytes = random.random_range(0..5 * MB);
                let record = record_in(
                    &format!("r-{n}"),
                    &at.to_rfc3339(),
                    bytes,
                    NETWORKS[random.random_range(0..4)],
                );
                if n % 9 == 8 {
                    // Some of it is taken back.
                    let fix = record_in(&format!("c-{n}"), &at.to_rfc3339(), -bytes / 2, None);
                    records.push(fix.replacen('{', &format!(r#"{{"corrects":"r-{n}","#), 1));
                }
                records.push(record);
            }
            let sender = Sender {
                tenant: *tenant,
                may_correct: true,
                iccid: None,
                via: Via::Mqtt,
                name: "test".into(),
            };
            let receipt = pipeline.send_as(sender, Some(&iccid), format!("[{}]", records.join(","))).await;
            decided(receipt).await;
        }
    }
    database.roll_up().await;
    database.assert_reconciled().await;
}

/// A question: its query string, and the same as a condition on raw records.
struct Question {
    query: String,
    condition: String,
    days: i64,
}

fn question(tenant: TenantId, zone: &str, random: &mut StdRng) -> Question {
    let first = time("2026-01-05T00:00:00Z").date_naive() + chrono::Days::new(random.random_range(0..80));
    let days = [1, 3, 17, 31, 40, 90][random.random_range(0..6)];
    let last = first + chrono::Days::new(days - 1);
    let mut query = format!("start_date={first}&end_date={last}");
    let mut condition = format!(
        "tenant_id = {} AND (period_start AT TIME ZONE '{zone}')::date BETWEEN '{first}' AND '{last}'",
        tenant.0
    );
    let some = |values: Vec<String>, random: &mut StdRng| -> Vec<String> {
        values.into_iter().filter(|_| random.random_range(0..3) == 0).collect()
    };
    let sims = if random.random() { some(iccids(tenant), random) } else { Vec::new() };
    let networks = NETWORKS.iter().flatten().map(|network| (*network).to_owned()).collect();
    let networks = if random.random() { some(networks, random) } else { Vec::new() };
    for (name, column, values) in [("imsi", "iccid", sims), ("mccmnc", "mccmnc", networks)] {
        if !values.is_empty() {
            query.extend(values.iter().map(|value| format!("&{name}={value}")));
            condition += &format!(" AND {column} IN ('{}')", values.join("','"));
        }
    }
    Question { query, condition, days: days as i64 }
}

/// Sums of bytes and cost.
fn sums(answer: &Value) -> (i64, f64) {
    assert_eq!(answer["success"], true, "{answer}");
    let rows = answer["data"].as_array().expect("rows");
    let cost = rows.iter().filter_map(|row| row["cost"].as_f64()).sum();
    (rows.iter().map(|row| row["bytes"].as_i64().expect("bytes")).sum(), cost)
}

/// Catches a panel that reads its range, its filters or its zone otherwise than the others; another tenant's rows; and a CSV
/// file that says something else.
#[tokio::test]
async fn all_panels_agree_to_the_byte() {
    let mut random = StdRng::seed_from_u64(20_261_121);
    let database = TestDatabase::new().await;
    let zurich = database.tenant("zurich", "Europe/Zurich").await;
    let delhi = database.tenant("delhi", "Asia/Kolkata").await;
    let tenants = [(TENANT, "UTC"), (zurich, "Europe/Zurich"), (delhi, "Asia/Kolkata")];
    fill(&database, &tenants, &mut random).await;
    let api = TestApi::start_at(&database, NOW).await;
    let keys = [api.key(READ).await, api.key_of("zurich", READ).await, api.key_of("delhi", READ).await];
    for round in 0..60 {
        let (tenant, zone) = tenants[round % 3];
        let Question { query, condition, days } = question(tenant, zone, &mut random);
        let get = async |path: &str| {
            let separator = if path.contains('?') { '&' } else { '?' };
            let answer =
                api.get_as(&keys[round % 3], &format!("/api/consumption/{path}{separator}{query}")).await;
            assert_eq!(answer.status, 200, "{path} {query}: {}", answer.text);
            answer
        };
        let raw = format!("SELECT coalesce(sum(total_bytes), 0) FROM usage_records WHERE {condition}");
        let bytes = database.number(&raw).await;
        let kpis = get("kpis").await.json();
        assert_eq!(kpis["data"]["dataUsage"]["value"], bytes, "{query}");
        let cost = kpis["data"]["totalSpend"]["value"].as_f64().expect("a cost");
        let mut panels = vec!["carriers", "trends?granularity=daily", "trends?granularity=weekly", "trends"];
        if days <= 31 && zone != "Asia/Kolkata" {
            panels.push("trends?granularity=hourly");
        }
        for panel in panels {
            let (sum, spent) = sums(&get(panel).await.json());
            assert_eq!(sum, bytes, "{panel} {query}");
            assert!((spent - cost).abs() < 1e-6, "{panel} {query}: {spent}, not {cost}");
        }
        for granularity in ["24h", "weekly", "monthly"] {
            let details = get(&format!("usage-details?granularity={granularity}")).await.json();
            assert_eq!((sums(&details).0, &details["truncated"]), (bytes, &Value::Bool(false)), "{query}");
            let csv = get(&format!("usage-details.csv?granularity={granularity}")).await.text;
            assert_same_rows(&csv, &details);
        }
        assert_same_rows(&get("trends.csv").await.text, &get("trends").await.json());
        assert_same_rows(&get("carriers.csv").await.text, &get("carriers").await.json());
        let sims = kpis["data"]["activeSims"]["value"].as_i64();
        let whole = get("trends?granularity=daily").await.json();
        let most =
            whole["data"].as_array().expect("points").iter().filter_map(|p| p["simCount"].as_i64()).max();
        // Zero is an amount that a record may have; a SIM with nothing else had no usage.
        let active = format!(
            "SELECT count(DISTINCT iccid) FROM (
                 SELECT iccid FROM usage_records WHERE {condition}
                 GROUP BY iccid, (period_start AT TIME ZONE '{zone}')::date, carrier_id, rate_plan_id, mccmnc, cycle_id
                 HAVING sum(total_bytes) <> 0) AS active"
        );
        assert_eq!(sims, Some(database.number(&active).await), "{query}");
        assert!(most <= sims, "{query}");
    }
    api.close().await;
}

/// Every cell of the file is the value of its column in the row of the answer.
fn assert_same_rows(csv: &str, answer: &Value) {
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let columns = reader.headers().expect("a header").clone();
    let lines: Vec<_> = reader.records().collect::<Result<_, _>>().expect("lines");
    let rows = answer["data"].as_array().expect("rows");
    assert_eq!(lines.len(), rows.len());
    assert_eq!(csv.matches("\r\n").count(), rows.len() + 1, "each line ends with CRLF");
    for (line, row) in lines.iter().zip(rows) {
        for (column, cell) in columns.iter().zip(line) {
            let value = match &row[column] {
                Value::String(text) => text.clone(),
                Value::Null => String::new(),
                other => other.to_string(),
            };
            assert_eq!(cell, value, "{column} of {row}");
        }
    }
}
