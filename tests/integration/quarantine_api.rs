//! Parked records over HTTP: listed, mended, replayed and discarded, each by its own tenant.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::api::{Answer, TestApi};
use crate::harness::database::{TestDatabase, sim};
use crate::harness::pipeline::{TestPipeline, correction_at, record_at, word};

const ICCID: &str = "8941000000000000001";
const OTHER: &str = "8941000000000000002";
const NOW: &str = "2026-03-10T12:00:00Z";
const AT: &str = "2026-03-10T11:00:00Z";
const PARKED: &str = "/api/v1/quarantine";

/// A program and its database, to which these payloads of a SIM were sent over MQTT.
async fn parked(payloads: &[(&str, String)]) -> (TestDatabase, TestApi) {
    let database = TestDatabase::new().await;
    database.import_at(NOW, &[sim(ICCID), sim(OTHER)]).await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    for (iccid, payload) in payloads {
        word(&pipeline.one(iccid, payload.clone()).await);
    }
    let api = TestApi::start_at(&database, NOW).await;
    (database, api)
}

fn negative(id: &str) -> String {
    record_at(id, AT, 0).replace(":0}", ":-1}")
}

async fn list(api: &TestApi, key: &str, query: &str) -> Value {
    let answer = api.get_as(key, &format!("{PARKED}{query}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

fn ids(page: &Value) -> Vec<&str> {
    page["records"].as_array().expect("records").iter().filter_map(|r| r["recordId"].as_str()).collect()
}

async fn replay(api: &TestApi, key: &str, id: &Value, body: Value) -> Answer {
    api.post_as(key, &format!("{PARKED}/{id}/replay"), &body).await
}

#[tokio::test]
async fn parked_records_are_listed_with_their_reasons_and_shown_with_their_payload() {
    let conflict = [record_at("c", AT, 1), record_at("c", AT, 2)];
    let mut sent = vec![(ICCID, conflict[0].clone()), (ICCID, conflict[1].clone())];
    sent.extend((0..5).map(|n| (ICCID, negative(&format!("n{n}")))));
    sent.push((OTHER, negative("other")));
    sent.push((OTHER, "no JSON".to_owned()));
    let (_database, api) = parked(&sent).await;
    let key = api.key(&["usage:read"]).await;

    let all = list(&api, &key, "").await;
    let counts = json!([{"reason": "invalid", "parked": 6, "orMore": false},
        {"reason": "malformed", "parked": 1, "orMore": false}, {"reason": "conflict", "parked": 1, "orMore": false}]);
    assert_eq!((&all["reasons"], all["records"].as_array().map(Vec::len)), (&counts, Some(8)));
    let newest = &all["records"][0];
    assert_eq!(
        (&newest["reason"], &newest["via"], &newest["state"]),
        (&json!("malformed"), &json!("mqtt"), &json!("parked"))
    );
    assert_eq!(
        (&newest["payloadBytes"], &newest["seenCount"], &newest["resolvedAt"]),
        (&json!(7), &json!(1), &json!(null))
    );
    assert!(newest.get("payload").is_none(), "{newest}");

    // Page after page, each record once; the counts are of everything.
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = list(&api, &key, &format!("?reason=invalid&limit=4{cursor}")).await;
        assert_eq!(page["reasons"], counts);
        seen.extend(ids(&page).into_iter().map(str::to_owned));
        let Some(next) = page["nextCursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, ["other", "n4", "n3", "n2", "n1", "n0"]);
    assert_eq!(ids(&list(&api, &key, &format!("?iccid={OTHER}&reason=invalid")).await), ["other"]);
    assert_eq!(ids(&list(&api, &key, "?state=discarded").await), [""; 0]);

    let one = api.get_as(&key, &format!("{PARKED}/{}", all["records"][7]["id"])).await.json();
    assert_eq!(one["payload"], conflict[1].as_str());
    assert!(one["problem"].as_str().is_some_and(|text| text.contains("other content")), "{one}");
    let wrong = api.get_as(&key, &format!("{PARKED}?state=open&reason=bad&limit=0&cursor=x")).await;
    assert_eq!(wrong.status, 400);
    assert_eq!(wrong.json()["error"]["details"].as_array().map(Vec::len), Some(4), "{}", wrong.text);
    for unknown in ["4711", "x", "99999999999999999999"] {
        assert_eq!(api.get_as(&key, &format!("{PARKED}/{unknown}")).await.status, 404);
    }
    api.close().await;
}

/// Catches a payload that is no text and is left out, or has its broken bytes replaced.
#[tokio::test]
async fn a_payload_that_is_no_text_is_told_in_base64() {
    let (database, api) = parked(&[(ICCID, negative("text"))]).await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    let bytes = [0xff, 0x00, 0x7b, 0xc3, 0x28];
    assert_eq!(word(&pipeline.one(ICCID, bytes.to_vec()).await), "malformed");
    let key = api.key(&["usage:read"]).await;
    let listed = list(&api, &key, "").await;
    let shown =
        async |at: usize| api.get_as(&key, &format!("{PARKED}/{}", listed["records"][at]["id"])).await.json();
    let (binary, text) = (shown(0).await, shown(1).await);
    assert_eq!((&binary["payload"], &binary["payloadBase64"]), (&json!(null), &json!("/wB7wyg=")));
    assert_eq!((&text["payload"], &text["payloadBase64"]), (&json!(negative("text")), &json!(null)));
    api.close().await;
}

/// Catches a count without bound, which would take as long as the quarantine is large, and one that does not say that it was cut.
#[tokio::test]
async fn reasons_are_counted_up_to_ten_thousand_or_more() {
    let (database, api) = parked(&[]).await;
    let key = api.key(&["usage:read"]).await;
    let more = async |from: i64, to: i64| {
        database
            .run(&format!(
                "INSERT INTO quarantine (tenant_id, reason, detail, via, sender, topic, payload, digest)
                 SELECT 1, 'invalid', 'x', 'http', 'x', 'x', '', int8send(n) FROM generate_series({from}, {to}) AS n"
            ))
            .await;
        list(&api, &key, "?limit=1").await["reasons"].clone()
    };
    let told =
        |parked: i64, or_more: bool| json!([{"reason": "invalid", "parked": parked, "orMore": or_more}]);
    assert_eq!(more(1, 9_999).await, told(9_999, false));
    assert_eq!(more(10_000, 10_000).await, told(10_000, true));
    assert_eq!(more(10_001, 10_010).await, told(10_000, true));
    api.close().await;
}

/// Catches a replay that says it was stored when it was not.
#[tokio::test]
async fn a_mended_record_is_stored_and_one_that_is_not_stays_with_the_reason() {
    let (database, api) = parked(&[(ICCID, negative("a"))]).await;
    let key = api.key(&["usage:read", "admin:quarantine"]).await;
    let id = list(&api, &key, "").await["records"][0]["id"].clone();
    let as_it_was = replay(&api, &key, &id, json!({})).await;
    assert_eq!(as_it_was.status, 409, "{}", as_it_was.text);
    let told = as_it_was.json();
    assert_eq!(told["error"]["code"], "STILL_REFUSED");
    let why = "still cannot be stored: usage.totalBytes: must not be negative";
    assert!(told["message"].as_str().is_some_and(|text| text.starts_with(why)), "{told}");
    assert_eq!(list(&api, &key, "").await["records"][0]["seenCount"], 1);

    let mended = replay(&api, &key, &id, json!({"payload": record_at("a", AT, 9)})).await;
    let stored = json!({"id": id, "state": "replayed",
        "records": [{"recordId": "a", "status": "ACCEPTED", "processedAt": mended.json()["records"][0]["processedAt"]}]});
    assert_eq!((mended.status, mended.json()), (200, stored));
    assert_eq!(database.number("SELECT sum(total_bytes) FROM usage_cycles").await, 9);
    let again = replay(&api, &key, &id, json!({"payload": record_at("b", AT, 9)})).await;
    assert_eq!((again.status, &again.json()["message"]), (409, &json!("is replayed already")));
    let entry = list(&api, &key, "?state=all").await["records"][0].clone();
    assert!(entry["state"] == "replayed" && entry["resolvedAt"].is_string(), "{entry}");
    database.roll_up().await;
    database.assert_reconciled().await;
    api.close().await;
}

#[tokio::test]
async fn a_discarded_record_is_neither_listed_nor_stored() {
    let (database, api) = parked(&[(ICCID, negative("a"))]).await;
    let key = api.key(&["usage:read", "admin:quarantine"]).await;
    let id = list(&api, &key, "").await["records"][0]["id"].clone();
    let discard = async || api.send_as(&key, Method::DELETE, &format!("{PARKED}/{id}"), &json!({})).await;
    assert_eq!(discard().await.status, 204);
    assert_eq!(discard().await.status, 409);
    assert_eq!(list(&api, &key, "").await, json!({"reasons": [], "records": [], "nextCursor": null}));
    assert_eq!(list(&api, &key, "?state=discarded").await["records"][0]["id"], id);
    let replayed = replay(&api, &key, &id, json!({"payload": record_at("a", AT, 9)})).await;
    assert_eq!((replayed.status, &replayed.json()["message"]), (409, &json!("is discarded already")));
    assert_eq!(database.number("SELECT count(*) FROM usage_records").await, 0);
    api.close().await;
}

/// Catches a query without its tenant: what others have parked does not exist.
#[tokio::test]
async fn nobody_sees_or_touches_what_another_tenant_parked() {
    let (database, api) = parked(&[(ICCID, negative("a"))]).await;
    database.tenant("acme", "UTC").await;
    let (own, foreign) = (api.key(&["*"]).await, api.key_of("acme", &["*"]).await);
    let id = list(&api, &own, "").await["records"][0]["id"].clone();
    assert_eq!(
        list(&api, &foreign, "?state=all").await,
        json!({"reasons": [], "records": [], "nextCursor": null})
    );
    let path = format!("{PARKED}/{id}");
    assert_eq!(api.get_as(&foreign, &path).await.status, 404);
    assert_eq!(replay(&api, &foreign, &id, json!({"payload": record_at("a", AT, 9)})).await.status, 404);
    assert_eq!(api.send_as(&foreign, Method::DELETE, &path, &json!({})).await.status, 404);
    assert_eq!(list(&api, &own, "").await["records"][0]["state"], "parked");
    api.close().await;
}

/// Catches a sender that wipes its own traces, and a correction by somebody who may not correct.
#[tokio::test]
async fn mending_takes_a_permission_of_its_own_and_correcting_another() {
    let correction = correction_at("fix", "r", AT, -2);
    let (database, api) = parked(&[(ICCID, record_at("r", AT, 7)), (ICCID, correction)]).await;
    let sender = api.key(&["usage:*"]).await;
    let id = list(&api, &sender, "").await["records"][0]["id"].clone();
    let refused = replay(&api, &sender, &id, json!({})).await;
    assert_eq!(
        (refused.status, &refused.json()["error"]["message"]),
        (403, &json!("this API key lacks the permission admin:quarantine"))
    );
    assert_eq!(api.send_as(&sender, Method::DELETE, &format!("{PARKED}/{id}"), &json!({})).await.status, 403);
    let mender = api.key(&["admin:*"]).await;
    assert_eq!(replay(&api, &mender, &id, json!({})).await.status, 409);
    let both = api.key(&["admin:quarantine", "usage:correct"]).await;
    assert_eq!(replay(&api, &both, &id, json!({})).await.status, 200);
    assert_eq!(database.number("SELECT sum(total_bytes) FROM usage_cycles").await, 5);
    api.close().await;
}
