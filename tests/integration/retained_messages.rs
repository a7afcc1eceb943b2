//! Retained messages of ordinary traffic outlive the program.

use std::process::Stdio;
use std::time::Duration;

use simbridge::store::retained::RetainedRow;
use tokio::process::Command;

use crate::harness::bridge::{BridgeOptions, BridgeProcess};
use crate::harness::database::{TENANT, TestDatabase, now};
use crate::harness::{PATIENCE, eventually};
use crate::mosquitto::installed;

async fn run(program: &str, bridge: &BridgeProcess, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args([
        "-h",
        &bridge.mqtt.ip().to_string(),
        "-p",
        &bridge.mqtt.port().to_string(),
        "-V",
        "mqttv5",
    ]);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("in time").expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

async fn retain(bridge: &BridgeProcess, topic: &str, payload: &str, more: &[&str]) {
    let arguments = [&["-r", "-q", "1", "-t", topic, "-m", payload][..], more].concat();
    run("mosquitto_pub", bridge, &arguments).await;
}

/// What a new subscriber gets, up to the message of `topic`, which comes last in the order of topics.
async fn retained(bridge: &BridgeProcess, count: usize) -> String {
    let arguments = ["-q", "1", "-t", "d/#", "-C", &count.to_string(), "-F", "%t %p %q %r %C %P"];
    run("mosquitto_sub", bridge, &arguments).await
}

/// Catches messages that are kept in memory alone, and what was taken back coming again.
#[tokio::test(flavor = "multi_thread")]
async fn retained_messages_are_there_after_a_restart_and_after_a_kill() {
    if !installed() {
        return;
    }
    let database = TestDatabase::new().await;
    let options = BridgeOptions::new(database.url());
    let bridge = BridgeProcess::start(&options).await;
    let properties =
        ["-D", "publish", "content-type", "text/plain", "-D", "publish", "user-property", "k", "v"];
    retain(&bridge, "d/1", "one", &properties).await;
    for (topic, payload) in [("d/2", "two"), ("d/3", "three"), ("d/2", "two again")] {
        retain(&bridge, topic, payload, &[]).await;
    }
    run("mosquitto_pub", &bridge, &["-r", "-n", "-q", "1", "-t", "d/3"]).await;
    // At once: what was retained a moment ago is stored before the program ends.
    assert_eq!(bridge.terminate().await, Some(0));
    let bridge = BridgeProcess::start(&options).await;
    assert_eq!(retained(&bridge, 2).await, "d/1 one 1 1 text/plain k:v\nd/2 two again 1 1  \n");
    retain(&bridge, "d/4", "four", &[]).await;
    run("mosquitto_pub", &bridge, &["-r", "-n", "-q", "1", "-t", "d/1"]).await;
    let stored = "SELECT topic FROM mqtt_retained ORDER BY 1";
    eventually("both changes are stored", async || {
        (database.rows(stored).await == ["d/2", "d/4"]).then_some(())
    })
    .await;
    bridge.kill().await;
    let bridge = BridgeProcess::start(&options).await;
    assert_eq!(retained(&bridge, 2).await, "d/2 two again 1 1  \nd/4 four 1 1  \n");
    assert_eq!(bridge.terminate().await, Some(0));
}

/// Catches a message that outlives its expiry by a restart, and one that another tenant's clients get.
#[tokio::test(flavor = "multi_thread")]
async fn expired_messages_and_those_of_other_tenants_stay_away() {
    if !installed() {
        return;
    }
    let database = TestDatabase::new().await;
    let other = database.tenant("other", "UTC").await;
    let row = |tenant, topic: &str, expires_in: Option<i64>| RetainedRow {
        tenant,
        topic: topic.into(),
        payload: topic.into(),
        qos: 1,
        properties: None,
        expires_at: expires_in.map(|seconds| now() + chrono::TimeDelta::seconds(seconds)),
    };
    let rows = [
        row(TENANT, "d/expired", Some(-1)),
        row(TENANT, "d/lasting", Some(3_600)),
        row(other, "d/foreign", None),
        row(TENANT, "d/z", None),
    ];
    database.store.save_retained(&rows, &[]).await.expect("rows");
    let bridge = BridgeProcess::start(&BridgeOptions::new(database.url())).await;
    assert_eq!(retained(&bridge, 2).await, "d/lasting d/lasting 1 1  \nd/z d/z 1 1  \n");
}

/// Catches a program that does not end because it cannot write down what is retained, and changes that are lost in an outage.
#[tokio::test(flavor = "multi_thread")]
async fn what_changes_while_the_database_is_away_is_stored_later() {
    if !installed() {
        return;
    }
    let database = TestDatabase::new().await;
    let bridge = BridgeProcess::start(&BridgeOptions::new(database.url())).await;
    database.run("ALTER TABLE mqtt_retained RENAME TO away").await;
    retain(&bridge, "d/1", "one", &[]).await;
    eventually("it was tried", async || {
        bridge.log().iter().any(|line| line.contains("retained messages wait for the database")).then_some(())
    })
    .await;
    retain(&bridge, "d/1", "one again", &[]).await;
    database.run("ALTER TABLE away RENAME TO mqtt_retained").await;
    let stored = "SELECT convert_from(payload, 'UTF8') FROM mqtt_retained";
    eventually("it is stored", async || (database.rows(stored).await == ["one again"]).then_some(())).await;
    database.run("ALTER TABLE mqtt_retained RENAME TO away").await;
    retain(&bridge, "d/1", "lost", &[]).await;
    let ended = tokio::time::timeout(Duration::from_secs(30), bridge.terminate()).await;
    assert_eq!(ended.expect("it ends"), Some(0));
}

/// Keeps several changes together: while the table is away none of them is stored.
async fn at_once(database: &TestDatabase, bridge: &BridgeProcess, topics: &[&str]) {
    database.run("ALTER TABLE mqtt_retained RENAME TO away").await;
    for topic in topics {
        retain(bridge, topic, topic, &[]).await;
    }
    run("mosquitto_pub", bridge, &["-r", "-n", "-q", "1", "-t", "d/gone"]).await;
    database.run("ALTER TABLE away RENAME TO mqtt_retained").await;
}

const STORED: &str = "SELECT topic FROM mqtt_retained ORDER BY 1";

/// Catches a message that the table refuses and that keeps the others from it, or is tried again for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_the_table_refuses_is_the_only_one_that_is_not_stored() {
    if !installed() {
        return;
    }
    let database = TestDatabase::new().await;
    let options = BridgeOptions::new(database.url());
    let bridge = BridgeProcess::start(&options).await;
    retain(&bridge, "d/gone", "soon", &[]).await;
    eventually("it is stored", async || (database.rows(STORED).await == ["d/gone"]).then_some(())).await;
    database
        .run(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 RAISE EXCEPTION 'not this one' USING ERRCODE = '22023';
             END $$;
             CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON mqtt_retained
                 FOR EACH ROW WHEN (NEW.topic = 'd/bad') EXECUTE FUNCTION refuse()",
        )
        .await;
    at_once(&database, &bridge, &["d/1", "d/bad", "d/z"]).await;
    eventually("the others are stored", async || {
        (database.rows(STORED).await == ["d/1", "d/z"]).then_some(())
    })
    .await;
    let told =
        || bridge.log().iter().filter(|line| line.contains("a retained message cannot be stored")).count();
    eventually("it is told", async || (told() == 1).then_some(())).await;
    assert!(bridge.log().iter().any(|line| line.contains(r#""topic":"d/bad""#) && line.contains("22023")));
    assert_eq!(retained(&bridge, 3).await, "d/1 d/1 1 1  \nd/bad d/bad 1 1  \nd/z d/z 1 1  \n");
    // Whatever comes later passes, and the one that was refused is not tried again.
    retain(&bridge, "d/zz", "later", &[]).await;
    eventually("it is stored", async || (database.rows(STORED).await.len() == 3).then_some(())).await;
    assert_eq!(told(), 1);
    assert_eq!(bridge.terminate().await, Some(0));
    let bridge = BridgeProcess::start(&options).await;
    assert_eq!(retained(&bridge, 3).await, "d/1 d/1 1 1  \nd/z d/z 1 1  \nd/zz later 1 1  \n");
    assert_eq!(bridge.terminate().await, Some(0));
}

/// Catches changes that are lost because the connection breaks while they are stored one by one.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_while_messages_are_stored_one_by_one_loses_none() {
    if !installed() {
        return;
    }
    let database = TestDatabase::new().await;
    let bridge = BridgeProcess::start(&BridgeOptions::new(database.url())).await;
    retain(&bridge, "d/gone", "soon", &[]).await;
    eventually("it is stored", async || (database.rows(STORED).await == ["d/gone"]).then_some(())).await;
    // A sequence counts what is rolled back too. The first message that comes alone after the refused one ends its connection.
    database
        .run(
            "CREATE SEQUENCE refused; CREATE SEQUENCE broken;
             CREATE FUNCTION disturb() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
                 IF EXISTS (SELECT FROM kept WHERE topic = 'd/bad') THEN
                     PERFORM nextval('refused');
                     RAISE EXCEPTION 'not this one' USING ERRCODE = '22023';
                 ELSIF (SELECT array_agg(topic) FROM kept) = '{d/z}' AND nextval('broken') = 1 THEN
                     PERFORM pg_terminate_backend(pg_backend_pid());
                 END IF;
                 RETURN NULL;
             END $$;
             CREATE TRIGGER disturb AFTER INSERT ON mqtt_retained
                 REFERENCING NEW TABLE AS kept FOR EACH STATEMENT EXECUTE FUNCTION disturb()",
        )
        .await;
    at_once(&database, &bridge, &["d/1", "d/bad", "d/z"]).await;
    eventually("the connection broke", async || {
        (database.number("SELECT last_value FROM broken").await > 1).then_some(())
    })
    .await;
    eventually("everything is stored", async || {
        (database.rows(STORED).await == ["d/1", "d/z"]).then_some(())
    })
    .await;
    assert!(database.number("SELECT last_value FROM refused").await >= 3, "a batch, the one, and both again");
    assert!(bridge.log().iter().any(|line| line.contains("retained messages wait for the database")));
    assert_eq!(bridge.terminate().await, Some(0));
}
