//! Settings in the database: what counts, whatever stands there.

use simbridge::domain::Setting;

use crate::harness::bridge::command;
use crate::harness::database::TestDatabase;

/// Catches a value that is kept by the instance that set it, or stored as it was given.
#[tokio::test]
async fn a_setting_counts_for_every_instance_at_once_and_within_its_bounds() {
    let database = TestDatabase::new().await;
    let other = database.another_store();
    assert_eq!(other.setting(Setting::RollupInterval).await.expect("an answer"), 1);
    assert_eq!(database.store.set_setting(Setting::RollupInterval, 60).await.expect("it is set"), 5);
    assert_eq!(database.store.set_setting(Setting::RawRetention, 7).await.expect("it is set"), 32);
    assert_eq!(other.setting(Setting::RollupInterval).await.expect("an answer"), 5);
    assert_eq!(other.setting(Setting::RawRetention).await.expect("an answer"), 32);
    let stored = "SELECT key, value FROM settings ORDER BY key";
    assert_eq!(database.rows(stored).await, ["retention.raw_days|32", "rollup.interval_minutes|5"]);
    assert_eq!(database.store.set_setting(Setting::RawRetention, -3).await.expect("it is set"), 0);
    assert_eq!(other.setting(Setting::RawRetention).await.expect("an answer"), 0);
}

/// Catches a worker that stops over a value that somebody typed, and one that obeys a value out of bounds.
#[tokio::test]
async fn what_was_edited_by_hand_counts_within_its_bounds_or_as_the_default() {
    let database = TestDatabase::new().await;
    let edits = "INSERT INTO settings (key, value) VALUES ('rollup.interval_minutes', '0'),
                 ('invoice.due_days', 'a month'), ('retention.raw_days', '99999999999999999999'), ('other.thing', '1')";
    database.run(edits).await;
    let all = database.store.settings().await.expect("an answer");
    let values: Vec<_> = all.iter().map(|current| (current.setting.key(), current.value)).collect();
    assert_eq!(
        values,
        [
            ("rollup.interval_minutes", 1),
            ("panel.interval_minutes", 5),
            ("retention.raw_days", 0),
            ("retention.archive_first", 0),
            ("retention.key_days", 0),
            ("retention.quarantine_days", 0),
            ("invoice.after_days", 3),
            ("invoice.due_days", 30),
        ]
    );
    let unreadable: Vec<_> = all.iter().filter_map(|current| current.unreadable.as_deref()).collect();
    assert_eq!(unreadable, ["99999999999999999999", "a month"]);
    let (code, out, err) = command(&database, &["settings", "list"]).await;
    assert_eq!(code, Some(0));
    assert_eq!(out.lines().count(), 9, "{out}");
    assert!(err.contains("invoice.due_days: `a month` in the database is no whole number"), "{err}");
}

/// Catches a command that stores what it is given without saying what counts.
#[tokio::test]
async fn the_command_says_what_counts() {
    let database = TestDatabase::new().await;
    let (code, out, _) = command(&database, &["settings", "set", "rollup.interval_minutes", "9"]).await;
    assert_eq!(code, Some(0));
    assert_eq!(out, "rollup.interval_minutes = 5 (not 9: minutes from one roll-up to the next, 1 to 5)");
    let (code, out, _) = command(&database, &["settings", "set", "rollup.interval_minutes", "-9"]).await;
    assert_eq!((code, &out[..27]), (Some(0), "rollup.interval_minutes = 1"));
    let (code, out, _) = command(&database, &["settings", "set", "invoice.after_days", "5"]).await;
    assert_eq!((code, out.as_str()), (Some(0), "invoice.after_days = 5"));
    let (code, out, _) = command(&database, &["settings", "get", "invoice.after_days"]).await;
    assert_eq!((code, out.as_str()), (Some(0), "5"));
    let (_, out, _) = command(&database, &["settings", "list"]).await;
    assert!(out.starts_with("KEY ") && out.contains("\ninvoice.after_days         5      3 "), "{out}");
}

/// Catches a typing error that is stored and never read.
#[tokio::test]
async fn an_unknown_key_or_a_value_that_is_no_number_is_wrong_usage() {
    let database = TestDatabase::new().await;
    for arguments in
        [&["settings", "get", "rollup.interval"][..], &["settings", "set", "rollup.interval", "1"]]
    {
        let (code, _, err) = command(&database, arguments).await;
        assert_eq!(code, Some(2));
        assert!(err.contains("`rollup.interval`") && err.contains("rollup.interval_minutes"), "{err}");
    }
    let (code, _, err) = command(&database, &["settings", "set", "rollup.interval_minutes", "often"]).await;
    assert_eq!((code, err.as_str()), (Some(2), "simbridge: `often` is no whole number"));
    assert_eq!(database.number("SELECT count(*) FROM settings").await, 0);
}
