//! Brokers of others that cannot be used: said once, clearly, and tried again.

use crate::harness::bridge::{BridgeOptions, BridgeProcess, simbridge};
use crate::harness::database::{TestDatabase, sim};
use crate::harness::mosquitto::{Mosquitto, installed, subscribed_to};
use crate::harness::pipeline::record;
use crate::harness::{PATIENCE, eventually};

const ICCID: &str = "8941000000000000001";
const TOPIC: &str = "simportal/sims/8941000000000000001/usage";

/// Exit code and standard error of a `serve` that is bound to end by itself.
async fn refused(options: &BridgeOptions) -> (Option<i32>, String) {
    let mut command = simbridge();
    command.args(["serve", "--http-addr", "127.0.0.1:0"]).env("DATABASE_URL", &options.database_url);
    command.envs(options.env.iter().map(|(name, value)| (name, value)));
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends").expect("it starts");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test]
async fn a_source_that_cannot_work_is_refused_with_its_key() {
    let database = TestDatabase::new().await;
    for (url, settings, key) in [
        ("http://broker", "", "source.mqtt[0].url"),
        ("mqtt://me:s3cret@broker/topic", "", "source.mqtt[0].url"),
        ("mqtt://broker", "topics = [\"a/#\"]", "source.mqtt[0].topics"),
        ("mqtt://broker", "windw = 1", "source.mqtt"),
        ("mqtt://broker", "tenant = \"nobody\"", "source.mqtt `plant`: tenant"),
        ("mqtts://broker", "ca_file = \"/nonexistent\"", "source.mqtt `plant`: ca_file: /nonexistent"),
        ("mqtt://broker", "password_file = \"/nonexistent\"", "source.mqtt `plant`: password_file"),
    ] {
        let (code, said) = refused(&subscribed_to(&database.url(), url, settings)).await;
        assert_eq!(code, Some(78), "{said}");
        assert!(said.contains(key) && !said.contains("s3cret"), "{said}");
    }
}

#[tokio::test]
async fn check_shows_sources_without_their_passwords() {
    let mut command = simbridge();
    let options = subscribed_to("", "mqtt://me:s3cret@broker", "password = \"hush\"");
    command.arg("check").envs(options.env.iter().map(|(name, value)| (name, value)));
    let output = command.output().await.expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("mqtt://me:***@broker"), "{text}");
    assert!(!text.contains("s3cret") && !text.contains("hush"), "{text}");
}

/// Catches a log that fills while a broker says no, and a password in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_login_is_said_once_and_tried_until_it_is_accepted() {
    if !installed() {
        return;
    }
    let database = TestDatabase::new().await;
    database.import(&[sim(ICCID)]).await;
    let directory = tempfile::tempdir().expect("a directory");
    let passwords = directory.path().join("passwords");
    let save = async |password: &str| {
        let mut command = tokio::process::Command::new("mosquitto_passwd");
        command.args(["-c", "-b"]).arg(&passwords).args(["me", password]);
        assert!(command.status().await.expect("mosquitto_passwd is installed").success());
    };
    save("other").await;
    let settings = "allow_anonymous false\npassword_file DIR/passwords\n";
    let mut broker = Mosquitto::start_in(directory, settings).await;
    for version in [5, 3] {
        save("other").await;
        broker.terminate().await;
        broker.start_again().await;
        let settings = format!("username = \"me\", password = \"hush+now\", version = {version}");
        let bridge = BridgeProcess::start(&subscribed_to(&database.url(), &broker.url(), &settings)).await;
        eventually("several attempts", async || {
            (bridge.metric("simbridge_source_failures_total").await > 4.0).then_some(())
        })
        .await;
        let said: Vec<String> = bridge
            .log()
            .into_iter()
            .filter(|line| line.contains("\"WARN\"") || line.contains("\"ERROR\""))
            .collect();
        assert_eq!(said.len(), 1, "{said:#?}");
        assert!(said[0].contains("plant") && said[0].contains("refuses"), "{said:#?}");
        assert_eq!(bridge.get("/readyz").await.0, 200);

        save("hush+now").await;
        broker.terminate().await;
        broker.start_again().await;
        eventually("it is subscribed", async || {
            (bridge.metric("simbridge_source_connected").await == 1.0).then_some(())
        })
        .await;
        let id = format!("r-{version}");
        broker
            .publish_with(&[
                "-u",
                "me",
                "-P",
                "hush+now",
                "-q",
                "1",
                "-t",
                TOPIC,
                "-m",
                &record(&id, 0, 1, 1),
            ])
            .await;
        let count = format!("SELECT count(*) FROM usage_records WHERE record_id = '{id}'");
        eventually("it is stored", async || (database.number(&count).await == 1).then_some(())).await;
        assert!(!bridge.log().iter().any(|line| line.contains("hush")), "a password in the log");
        assert_eq!(bridge.terminate().await, Some(0));
    }
}
