//! `split` of the trends: what the points are made of.

use serde_json::{Value, json};

use super::{MB, NOW, READ, SALT_SIM, SUNRISE_SIM, two_carriers};
use crate::harness::api::TestApi;
use crate::harness::database::TestDatabase;
use crate::harness::pipeline::{TestPipeline, word};

/// `id bytes` of each part of each point, in MB where they are whole.
fn parts(answer: &Value) -> Vec<Vec<String>> {
    let points = answer["data"].as_array().expect("points");
    let shown = |part: &Value| {
        let bytes = part["bytes"].as_i64().expect("a number");
        assert_eq!(bytes % MB, 0, "{part}");
        format!("{} {}", part["id"].as_str().expect("an id"), bytes / MB)
    };
    points.iter().map(|p| p["parts"].as_array().expect("parts").iter().map(shown).collect()).collect()
}

fn names(answer: &Value) -> Vec<&str> {
    answer["series"].as_array().expect("series").iter().map(|s| s["name"].as_str().expect("a name")).collect()
}

#[tokio::test]
async fn points_are_split_by_carrier_network_and_direction() {
    let database = TestDatabase::new().await;
    two_carriers(&database).await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    let record = json!({
        "recordId": "directed", "periodStart": "2026-03-10T09:00:00Z", "periodEnd": "2026-03-10T09:30:00Z",
        "usage": {"totalBytes": 32 * MB, "dataUploadBytes": 2 * MB, "dataDownloadBytes": 30 * MB}, "mccmnc": "22801",
    });
    assert_eq!(word(&pipeline.one(SALT_SIM, record.to_string()).await), "stored");
    database.roll_up().await;
    let api = TestApi::start_at(&database, NOW).await;
    let key = api.key(READ).await;
    let ask = async |query: &str| {
        let path = format!("/api/consumption/trends?start_date=2026-03-09&end_date=2026-03-10&{query}");
        let answer = api.get_as(&key, &path).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    };
    let id_of = async |name: &str| {
        database.text("SELECT id::text FROM carriers WHERE name = $1", &[&name.to_owned()]).await
    };
    let (salt, sunrise) = (id_of("Salt").await, id_of("Sunrise").await);

    let by = ask("granularity=daily&split=carrier").await;
    assert_eq!(names(&by), ["Salt", "Sunrise"]);
    assert_eq!(
        parts(&by),
        [vec![format!("{sunrise} 8")], vec![format!("{salt} 35"), format!("{sunrise} 4")]]
    );
    let by = ask("granularity=daily&split=network").await;
    assert_eq!(parts(&by), [vec!["22801 8"], vec!["22801 37", "22802 2"]]);
    let by = ask("granularity=daily&split=network&mccmnc=22802").await;
    assert_eq!(parts(&by), [vec![], vec!["22802 2"]]);
    let by = ask(&format!("granularity=weekly&split=direction&imsi={SALT_SIM}")).await;
    assert_eq!(names(&by), ["Download", "Upload", "Not told apart"]);
    assert_eq!(parts(&by), [vec!["download 30", "upload 2", "undirected 3"]]);
    let by = ask(&format!("granularity=monthly&split=carrier&imsi={SUNRISE_SIM}&mccmnc=22801")).await;
    assert_eq!(parts(&by), [vec![format!("{sunrise} 12")]]);
    let plain = ask("granularity=daily").await;
    assert!(plain.get("series").is_none() && plain["data"][0].get("parts").is_none(), "{plain}");
    api.close().await;
}

/// Catches parts that miss some of a point: a filter left out of one of the statements, an hour that is off by one, and records
/// that wait for their roll-up counted in one and not in the other.
#[tokio::test]
async fn parts_add_up_to_their_point_whatever_is_asked() {
    let database = TestDatabase::new().await;
    two_carriers(&database).await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    let late = super::record_in("waits", "2026-03-10T11:15:00Z", 64 * MB, Some("22801"));
    assert_eq!(word(&pipeline.one(SALT_SIM, late).await), "stored");
    let api = TestApi::start_at(&database, NOW).await;
    let key = api.key(READ).await;
    let mut seen = 0;
    for granularity in ["hourly", "24h", "daily", "weekly", "monthly"] {
        for split in ["carrier", "network", "direction"] {
            for filter in
                ["", "&mccmnc=22801", &format!("&imsi={SALT_SIM}"), &format!("&imsi={SALT_SIM}&mccmnc=22801")]
            {
                let dates =
                    if granularity == "24h" { "" } else { "&start_date=2026-03-01&end_date=2026-03-10" };
                let query = format!("granularity={granularity}&split={split}{filter}{dates}");
                let answer = api.get_as(&key, &format!("/api/consumption/trends?{query}")).await.json();
                let plain = query.replace("split=", "nothing=");
                let plain = api.get_as(&key, &format!("/api/consumption/trends?{plain}")).await.json();
                let points = answer["data"].as_array().expect("points");
                for (point, whole) in points.iter().zip(plain["data"].as_array().expect("points")) {
                    let parts = point["parts"].as_array().expect("parts").iter();
                    let sum: i64 = parts.map(|part| part["bytes"].as_i64().expect("a number")).sum();
                    assert_eq!(Some(sum), whole["bytes"].as_i64(), "{query}: {point}");
                    assert_eq!(point["bytes"], whole["bytes"], "{query}: {point}");
                    seen += i64::from(sum > 0);
                }
                assert_eq!(points.len(), plain["data"].as_array().expect("points").len(), "{query}");
            }
        }
    }
    assert!(seen > 60, "{seen} points with usage are too few to prove anything");
    api.close().await;
}

#[tokio::test]
async fn what_cannot_be_split_is_refused() {
    let database = TestDatabase::new().await;
    let api = TestApi::start(&database).await;
    let key = api.key(READ).await;
    let answer = api.get_as(&key, "/api/consumption/trends?split=colour").await;
    assert_eq!(answer.status, 400, "{}", answer.text);
    assert!(answer.json()["error"].as_str().is_some_and(|error| error.contains("split")), "{}", answer.text);
    api.close().await;
}
