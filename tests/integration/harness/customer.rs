//! What the pages of a customer show: every kind of thing that they can.

use chrono::TimeDelta;
use serde_json::json;
use simbridge::store::sims::SimRow;

use super::api::{DEMO_KEY, TestApi};
use super::database::{TestDatabase, now, sim};

/// SIMs of a customer: within its limit, beyond it, without one.
pub(crate) const SIMS: [&str; 3] = ["8941000000000000001", "8941000000000000002", "8941000000000000003"];
/// Days of usage: they reach into a month that is closed.
const DAYS: i64 = 35;

/// A demo with three SIMs of two carriers at two places, which used data on each of the last days, invoices, parked records, and a
/// pool of all of them.
pub(crate) async fn customer() -> (TestDatabase, TestApi) {
    let database = TestDatabase::new().await;
    let api = TestApi::demo(&database).await;
    let row = |iccid: &str, carrier: &str, place: (&str, f64), limit: Option<i64>| SimRow {
        carrier: Some(carrier.into()),
        mccmnc: Some("22801".into()),
        device_name: Some(format!("device {}", &iccid[17..])),
        location_name: Some(place.0.into()),
        latitude: Some(place.1),
        longitude: Some(8.54),
        data_limit_bytes: limit,
        ..sim(iccid)
    };
    let (north, south) = (("North", 47.4), ("South", 46.2));
    let rows = [
        row(SIMS[0], "North Mobile", north, Some(1_000_000_000)),
        row(SIMS[1], "South Mobile", south, Some(9_000_000)),
        row(SIMS[2], "North Mobile", south, None),
    ];
    database.import(&rows).await;
    for day in 0..DAYS {
        let records: Vec<_> = (0..3_i64)
            .map(|sim| {
                let at = now() - TimeDelta::days(day);
                json!({"recordId": format!("r{day}"), "iccid": SIMS[sim as usize], "periodStart": at, "periodEnd": at,
                       "usage": {"dataUploadBytes": 1_000_003 * (sim + 1), "dataDownloadBytes": 2_000_003 + day,
                                 "totalBytes": 1_000_003 * (sim + 1) + 2_000_003 + day}})
            })
            .collect();
        let batch = json!({"batchId": format!("b{day}"), "records": records});
        let answer = api.post_as(DEMO_KEY, "/api/v1/usage/batch", &batch).await;
        assert_eq!((answer.status, &answer.json()["recordsFailed"]), (202, &json!(0)), "{}", answer.text);
    }
    park(&api, "parked", 12).await;
    database.roll_up().await;
    pool(&api).await;
    database.store.make_invoices(now(), 3, 30).await.expect("invoices");
    (database, api)
}

/// Path of the page and resource of the pool.
pub(crate) const POOL: &str = "/pools/1";

async fn pool(api: &TestApi) {
    let made = api
        .post_as(DEMO_KEY, "/api/v1/pools", &json!({"name": "Everything", "limitBytes": 400_000_000}))
        .await;
    assert_eq!((made.status, made.header("location")), (201, Some("/api/v1/pools/1")), "{}", made.text);
    let from = (now() - TimeDelta::days(DAYS)).date_naive();
    let members: Vec<_> =
        SIMS.iter().map(|iccid| json!({"sim": iccid, "from": from, "limitBytes": 50_000_000})).collect();
    let joined = api.post_as(DEMO_KEY, "/api/v1/pools/1/members", &json!({"members": members})).await;
    assert_eq!((joined.status, &joined.json()["added"]), (200, &json!(3)), "{}", joined.text);
}

/// Sends so many records that are at fault, called `name-0` and so on.
pub(crate) async fn park(api: &TestApi, name: &str, count: usize) {
    let at = now();
    let record = |n: usize| json!({"recordId": format!("{name}-{n}"), "iccid": SIMS[0], "periodStart": at, "periodEnd": at, "usage": {"totalBytes": -1}});
    let batch = json!({"batchId": name, "records": (0..count).map(record).collect::<Vec<_>>()});
    let answer = api.post_as(DEMO_KEY, "/api/v1/usage/batch", &batch).await;
    assert_eq!(answer.json()["recordsFailed"], json!(count), "{}", answer.text);
}
