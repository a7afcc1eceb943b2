//! `simbridge accounts`: which SIM an account of a source stands for.

use crate::harness::bridge::{command, simbridge};
use crate::harness::database::{TestDatabase, sim};

const ONE: &str = "8941000000000000001";
const TWO: &str = "8941000000000000002";

async fn accounts(database: &TestDatabase, arguments: &[&str]) -> (Option<i32>, String, String) {
    command(database, &[&["accounts"], arguments].concat()).await
}

/// The list without its header, columns by single spaces.
async fn listed(database: &TestDatabase) -> Vec<String> {
    let (code, told, wrong) = accounts(database, &["list"]).await;
    assert_eq!(code, Some(0), "{wrong}");
    told.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[tokio::test]
async fn accounts_are_set_changed_listed_and_removed() {
    let database = TestDatabase::new().await;
    database.import(&[sim(ONE)]).await;
    database.tenant("acme", "UTC").await;
    assert_eq!(listed(&database).await, Vec::<String>::new());
    let (code, told, _) = accounts(&database, &["set", "alice", "--iccid", ONE]).await;
    assert_eq!(
        (code, &*told),
        (Some(0), "account `alice` of every source stands for SIM 8941000000000000001")
    );
    accounts(&database, &["set", "alice", "--iccid", TWO, "--tenant", "acme"]).await;
    accounts(&database, &["set", "bob", "--iccid", ONE]).await;
    accounts(&database, &["set", "bob", "--iccid", TWO]).await;
    let expected = [
        format!("acme alice every {TWO} not provisioned"),
        format!("default alice every {ONE} provisioned"),
        format!("default bob every {TWO} not provisioned"),
    ];
    assert_eq!(listed(&database).await, expected);
    let (code, told, _) = accounts(&database, &["remove", "alice"]).await;
    assert_eq!(
        (code, &*told),
        (Some(0), "account `alice` of every source is forgotten; what was stored stays")
    );
    let (code, _, wrong) = accounts(&database, &["remove", "alice"]).await;
    assert_eq!((code, wrong.contains("nothing was said of account `alice`")), (Some(1), true), "{wrong}");
    assert_eq!(listed(&database).await.len(), 2);
}

/// Catches an account for a source whose name was mistyped: it would never be looked up.
#[tokio::test]
async fn what_cannot_be_an_account_is_refused_with_what_is_wrong() {
    let database = TestDatabase::new().await;
    let long = "x".repeat(254);
    for (arguments, expected) in [
        (vec!["set", "alice", "--iccid", ONE, "--tenant", "nobody"], "there is no tenant `nobody`"),
        (vec!["set", "alice", "--iccid", ONE, "--source", "hq"], "the configuration has no source `hq`"),
        (vec!["set", "alice", "--iccid", "12"], "an ICCID has 10 to 20 digits"),
        (vec!["set", "", "--iccid", ONE], "an account has 1 to 253 characters"),
        (vec!["set", &long, "--iccid", ONE], "an account has 1 to 253 characters"),
    ] {
        let (code, _, wrong) = accounts(&database, &arguments).await;
        assert_ne!(code, Some(0));
        assert!(wrong.contains(expected), "{wrong}");
    }
    assert_eq!(listed(&database).await, Vec::<String>::new());
}

#[tokio::test]
async fn an_account_of_one_source_is_kept_apart_from_that_of_every_source() {
    let database = TestDatabase::new().await;
    let mut command = simbridge();
    command
        .args(["accounts", "set", "alice\u{1b}[2J", "--source", "hq", "--iccid", ONE])
        .env("DATABASE_URL", database.url())
        .env("SIMBRIDGE__SOURCE__MQTT", r#"[{ name = "hq", url = "mqtt://broker.example" }]"#);
    let output = command.output().await.expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    accounts(&database, &["set", "alice\u{1b}[2J", "--iccid", TWO]).await;
    let shown = "default alice\u{fffd}[2J";
    let expected =
        [format!("{shown} every {TWO} not provisioned"), format!("{shown} hq {ONE} not provisioned")];
    assert_eq!(listed(&database).await, expected);
}

/// Catches a list that ends with its first page.
#[tokio::test]
async fn the_list_goes_on_behind_its_first_page() {
    let database = TestDatabase::new().await;
    let many = format!(
        "INSERT INTO usage_accounts (tenant_id, account, iccid) SELECT 1, 'user-' || n, '{ONE}'
         FROM generate_series(1, 2003) AS n"
    );
    database.run(&many).await;
    let listed = listed(&database).await;
    assert_eq!(listed.len(), 2_003);
    let mut sorted = listed.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!(sorted, listed);
}
