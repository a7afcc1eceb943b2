//! Remote panels: what they tell is counted once, whatever their counters do.

use serde_json::json;
use simbridge::config::PanelSourceConfig;
use simbridge::domain::Clock;

use crate::harness::api::TestApi;
use crate::harness::database::{TestDatabase, sim};
use crate::harness::panel::{PanelServer, Reply, last_error, read_again, read_once, stored};

const ICCID: &str = "8941000000000000001";
const OTHER: &str = "8941000000000000002";

/// A program that reads this panel.
pub(crate) async fn program(database: &TestDatabase, panel: PanelSourceConfig) -> TestApi {
    TestApi::start_with(database, Clock::System, false, |config| config.source.panel = vec![panel]).await
}

async fn with_sims() -> TestDatabase {
    let database = TestDatabase::new().await;
    database.import(&[sim(ICCID), sim(OTHER)]).await;
    database
}

/// Reads each of these totals of one account; what was stored after each.
async fn totals(panel: &PanelServer, database: &TestDatabase, values: &[i64]) -> Vec<i64> {
    let mut sums = Vec::new();
    for value in values {
        panel.say(json!({"total": value}));
        read_again(database).await;
        assert_eq!(last_error(database).await, "NULL");
        let sum = "SELECT coalesce(sum(total_bytes), 0)::bigint FROM usage_records";
        sums.push(database.number(sum).await);
    }
    sums
}

/// Catches a first value that counts although the counter ran before, and a value that counts with every look.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_panel_tells_counts_from_its_first_value_on() {
    let database = with_sims().await;
    let panel = PanelServer::start(|asked| {
        Reply::Json(json!({"total": if asked.path.ends_with('1') { 1_000 } else { 7 }}))
    })
    .await;
    let api = program(&database, panel.config(&[OTHER, ICCID])).await;
    read_once(&database).await;
    assert_eq!(stored(&database).await, [""; 0]);
    panel.script(|asked| Reply::Json(json!({"total": if asked.path.ends_with('1') { 1_250 } else { 7 }})));
    read_again(&database).await;
    read_again(&database).await;
    assert_eq!(stored(&database).await, [format!("{ICCID}|250")]);
    let sessions = "SELECT session_id, upload_counter, download_counter, data_download_bytes
                    FROM usage_sessions ORDER BY iccid";
    let expected = [format!("isp:{ICCID}:total|0|1250|250"), format!("isp:{OTHER}:total|0|7|0")];
    assert_eq!(database.rows(sessions).await, expected);
    let sources = "SELECT DISTINCT source FROM usage_records";
    assert_eq!(database.rows(sources).await, ["isp"]);
    let status = api.get("/statusz").await.json();
    let source = &status["sources"][0];
    assert_eq!(
        (&source["kind"], &source["state"], &source["received"]),
        (&json!("panel"), &json!("reading"), &json!(6))
    );
    assert_eq!(status["problems"], json!([]));
    database.assert_reconciled().await;
    api.close().await;
}

/// Catches a reset that counts negative, twice or as a wrap of 32 bits, which from a panel it never is.
#[tokio::test(flavor = "multi_thread")]
async fn a_counter_that_began_anew_counts_from_zero_once_it_is_certain() {
    let database = with_sims().await;
    let top = (1i64 << 32) - 10;
    let panel = PanelServer::saying(json!({"total": top})).await;
    let api = program(&database, panel.config(&[ICCID])).await;
    read_once(&database).await;
    let values = [top + 5, 40, 60, 60, 75, 0, 0, 80];
    assert_eq!(totals(&panel, &database, &values).await, [5, 5, 65, 65, 80, 80, 80, 85]);
    database.assert_reconciled().await;
    api.close().await;
}

/// Catches an old answer that is taken for a reset (`reset.rs` without its share, or without the second read): everything since
/// the counter began would count again. Also catches a value that goes back in the books.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_goes_back_and_comes_again_counts_once() {
    let database = with_sims().await;
    let panel = PanelServer::saying(json!({"total": 1_000})).await;
    let api = program(&database, panel.config(&[ICCID])).await;
    read_once(&database).await;
    let lagging = [1_100, 1_040, 1_040, 1_110, 1_050, 1_120];
    assert_eq!(totals(&panel, &database, &lagging).await, [100, 100, 100, 110, 110, 120]);
    let far = [300, 1_130, 200, 1_130, 0, 0, 1_140];
    assert_eq!(totals(&panel, &database, &far).await, [120, 130, 130, 130, 130, 130, 140]);
    database.assert_reconciled().await;
    api.close().await;
}

/// Catches a field that is missing for a while and counts as a reset to 0, or as a base of 0: both count everything again.
#[tokio::test(flavor = "multi_thread")]
async fn usage_that_is_not_found_is_zero_and_not_the_end_of_the_counter() {
    let database = with_sims().await;
    let panel = PanelServer::saying(json!({"error": "try later"})).await;
    let api = program(&database, panel.config(&[ICCID])).await;
    read_once(&database).await;
    assert_eq!(totals(&panel, &database, &[500, 510]).await, [0, 10]);
    for odd in
        [json!({}), json!({"total": null}), json!({"total": "12 GB"}), json!({"total": -4}), json!([1])]
    {
        panel.say(odd);
        read_again(&database).await;
        read_again(&database).await;
        assert_eq!(last_error(&database).await, "NULL");
        assert!(api.get("/metrics").await.text.contains("accounts_in_trouble{source=\"isp\"} 1"));
    }
    assert_eq!(totals(&panel, &database, &[520]).await, [20]);
    assert!(api.get("/metrics").await.text.contains("accounts_in_trouble{source=\"isp\"} 0"));
    database.assert_reconciled().await;
    api.close().await;
}

/// Catches an account of a list that counts for another, and an unknown one that stops the rest or fills the quarantine.
#[tokio::test(flavor = "multi_thread")]
async fn one_answer_tells_all_accounts_in_units_and_directions() {
    let database = with_sims().await;
    database.run(&format!("INSERT INTO usage_accounts VALUES (1, 'alice', 'isp', '{ICCID}')")).await;
    let answer = |alice: &str, up: i64, down: i64| {
        json!({"data": {"users": [
            {"name": "alice", "used": {"gb": alice}},
            {"name": OTHER, "up": up, "down": down},
            {"name": "nobody", "up": 5, "down": 5},
            {"used": {"gb": 3}},
        ]}})
    };
    let panel = PanelServer::saying(answer("0.5", 10, 20)).await;
    let config = PanelSourceConfig {
        url: panel.url("/all"),
        list: "/data/users".into(),
        account: "/name".into(),
        upload: vec!["/up".into()],
        download: vec!["/down".into()],
        used: vec!["/used/gb".into()],
        unit: "KB".into(),
        ..panel.config(&[])
    };
    let api = program(&database, config).await;
    read_once(&database).await;
    panel.say(answer("0.6", 11, 22));
    read_again(&database).await;
    assert_eq!(stored(&database).await, [format!("{ICCID}|107374182"), format!("{OTHER}|3072")]);
    let split =
        format!("SELECT data_upload_bytes, data_download_bytes FROM usage_records WHERE iccid = '{OTHER}'");
    assert_eq!(database.rows(&split).await, ["1024|2048"]);
    assert_eq!(database.number("SELECT count(*) FROM quarantine").await, 0, "its base is not known yet");
    assert!(api.get("/metrics").await.text.contains("unknown_accounts_total{source=\"isp\"} 2"));
    // From now on it is known; what it had before is its base.
    database.import(&[sim("8941000000000000003")]).await;
    database.run("INSERT INTO usage_accounts VALUES (1, 'nobody', '', '8941000000000000003')").await;
    read_again(&database).await;
    assert_eq!(stored(&database).await.len(), 2);
    database.assert_reconciled().await;
    api.close().await;
}

/// Catches a total that is counted beside the base of the same account, and an unknown account whose total is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_value_may_count_and_an_account_may_move_to_another_sim() {
    let database = with_sims().await;
    let panel = PanelServer::saying(json!({"total": 500})).await;
    let config = PanelSourceConfig { first_reading: "counts".into(), ..panel.config(&["alice"]) };
    let api = program(&database, config).await;
    read_once(&database).await;
    read_again(&database).await;
    let parked = "SELECT reason, sender, convert_from(payload, 'UTF8')::jsonb ->> 'account' FROM quarantine";
    assert_eq!(database.rows(parked).await, ["unknown_account|isp|alice"], "once, not with every look");
    let account = |iccid: &str| {
        format!(
            "INSERT INTO usage_accounts VALUES (1, 'alice', 'isp', '{iccid}')
             ON CONFLICT ON CONSTRAINT usage_accounts_pk DO UPDATE SET iccid = excluded.iccid"
        )
    };
    database.run(&account(ICCID)).await;
    assert_eq!(totals(&panel, &database, &[600, 650]).await, [600, 650]);
    database.run(&account(OTHER)).await;
    assert_eq!(totals(&panel, &database, &[660]).await, [660]);
    database.run(&account(ICCID)).await;
    assert_eq!(totals(&panel, &database, &[663]).await, [663]);
    assert_eq!(stored(&database).await, [format!("{ICCID}|653"), format!("{OTHER}|10")]);
    database.assert_reconciled().await;
    api.close().await;
}
