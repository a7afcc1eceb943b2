//! `simbridge pools`

use crate::harness::bridge::command;
use crate::harness::database::{TestDatabase, sim};
use crate::pools::{FIRST, SECOND};

async fn pools(database: &TestDatabase, arguments: &[&str]) -> (Option<i32>, String, String) {
    command(database, &[&["pools"], arguments].concat()).await
}

/// What is told, columns by single spaces.
async fn told(database: &TestDatabase, arguments: &[&str]) -> Vec<String> {
    let (code, told, wrong) = pools(database, arguments).await;
    assert_eq!(code, Some(0), "{wrong}");
    told.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[tokio::test]
async fn pools_are_made_filled_shown_changed_and_removed() {
    let database = TestDatabase::new().await;
    database.import(&[sim(FIRST), sim(SECOND)]).await;
    assert_eq!(
        told(&database, &["create", "north", "--limit", "2GB"]).await,
        ["pool `north` is made, with the id 1"]
    );
    let added = told(&database, &["add", "north", FIRST, SECOND, "--limit", "5MB"]).await;
    assert_eq!(added, ["2 SIMs joined pool `north`, 0 have another limit, 0 were members"]);
    let changed = told(&database, &["add", "north", FIRST, "--no-limit"]).await;
    assert_eq!(changed, ["0 SIMs joined pool `north`, 1 have another limit, 0 were members"]);
    let listed = told(&database, &["list", "--period", "2026-01"]).await;
    assert_eq!(listed, ["ID POOL MEMBERS PERIOD BYTES LIMIT USED", "1 north 2 2026-01 0 2147483648 0 %"]);
    let today = database.text("SELECT (now() AT TIME ZONE 'UTC')::date", &[]).await;
    let shown = told(&database, &["show", "north"]).await;
    assert!(shown.contains(&"limit 2.00 GB (2147483648 bytes)".to_owned()), "{shown:?}");
    assert!(shown.contains(&format!("{SECOND} {today} - 0 0 % 5242880 0 %")), "{shown:?}");
    assert!(shown.contains(&format!("{FIRST} {today} - 0 0 % - -")), "{shown:?}");
    assert_eq!(
        told(&database, &["set", "north", "--new-name", "south", "--cycle-day", "31"]).await,
        ["pool `north` is changed"]
    );
    assert_eq!(told(&database, &["drop", "south", FIRST]).await, ["1 SIMs left pool `south`"]);
    assert_eq!(database.rows("SELECT iccid FROM usage_pool_members").await, [SECOND]);
    assert_eq!(told(&database, &["remove", "south"]).await.len(), 1);
    assert_eq!(database.number("SELECT count(*) FROM usage_pool_members").await, 0);
}

#[tokio::test]
async fn what_cannot_be_done_with_a_pool_is_refused_with_what_is_wrong() {
    let database = TestDatabase::new().await;
    database.import(&[sim(FIRST)]).await;
    told(&database, &["create", "a", "--limit", "1"]).await;
    told(&database, &["create", "b", "--limit", "1"]).await;
    told(&database, &["add", "a", FIRST]).await;
    let taken = format!("SIM {FIRST} is in pool `a`");
    for (arguments, expected) in [
        (vec!["create", "a", "--limit", "1"], "there is a pool `a` already"),
        (vec!["create", "c", "--limit", "1.5GB"], "bytes are a whole number"),
        (vec!["create", "c", "--limit", "1", "--cycle-day", "32"], "32"),
        (vec!["set", "a", "--new-name", "b"], "there is a pool `b` already"),
        (vec!["set", "a"], "required"),
        (vec!["show", "c"], "there is no pool `c`"),
        (vec!["show", "a", "--tenant", "nobody"], "there is no tenant `nobody`"),
        (vec!["add", "b", "nobody"], "`nobody` stands for no SIM"),
        (vec!["add", "b", FIRST], &taken),
        (vec!["add", "b", "8999999999999999999"], "this tenant has no SIM 8999999999999999999"),
        (vec!["drop", "b", FIRST], "is no member of this pool"),
    ] {
        let (code, _, wrong) = pools(&database, &arguments).await;
        assert!(matches!(code, Some(1 | 2)) && wrong.contains(expected), "{arguments:?}: {wrong}");
    }
}
