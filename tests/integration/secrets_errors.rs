//! No secret comes out of the program when its configuration is wrong or its database does not let it in.

use tokio::process::Command;

use crate::harness::PATIENCE;
use crate::harness::bridge::simbridge;
use crate::harness::canary::Canaries;
use crate::harness::database::TestDatabase;
use crate::harness::server::TestServer;

async fn said(mut command: Command) -> (Option<i32>, String) {
    command.env("RUST_LOG", "trace").env("SIMBRIDGE__HTTP__ENABLED", "false");
    command.env("SIMBRIDGE__DATABASE__STATEMENT_TIMEOUT_MS", "1000");
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends").expect("it starts");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

/// Runs a command that must fail with this code; what it shows of the secrets.
async fn leaks(canaries: &Canaries, what: &str, code: i32, command: Command) -> Vec<String> {
    let (ended, text) = said(command).await;
    assert_eq!(ended, Some(code), "{what}: {text}");
    canaries.found(&text).into_iter().map(|found| format!("{what}: {found}")).collect()
}

/// Catches the line of a file that is quoted, and a value that is repeated in what is said of it.
#[tokio::test]
async fn a_configuration_that_cannot_be_read_is_told_without_its_secrets() {
    let (mut canaries, directory) = (Canaries::default(), tempfile::tempdir().expect("a directory"));
    let secret = canaries.make("a password");
    canaries.add("a password of digits", "731604285519");
    let path = directory.path().join("simbridge.toml");
    let mut leaked = Vec::new();
    for text in [
        format!("[database]\nurl = \"postgres://me:{secret}@db/usage\n"),
        format!("[database]\nurl = {secret}\n"),
        format!("[database]\nurl = [\"{secret}\"]\n"),
        "[database]\nurl = 731604285519\n".into(),
        format!("[[source.mqtt]]\nname = \"a\"\nurl = \"mqtt://b\"\npassword = \"{secret}\" x\n"),
        "[[source.mqtt]]\nname = \"a\"\nurl = \"mqtt://b\"\npassword = 731604285519\n".into(),
        format!("[[source.mqtt]]\nname = \"a\"\nurl = \"me:{secret}@b\"\n"),
        format!("[[source.mqtt]]\nname = \"a\"\nurl = \"mqtt://b/{secret}\"\n"),
        format!("[[source.panel]]\nname = \"a\"\nurl = \"https://me:{secret}@panel\"\n"),
        format!("[source]\npanel = \"{secret}\"\n"),
    ] {
        std::fs::write(&path, &text).expect("it is ours");
        let mut command = simbridge();
        command.args(["check", "--config"]).arg(&path);
        leaked.extend(leaks(&canaries, &text, 78, command).await);
    }
    let block = format!("[{{name = \"a\", url = \"mqtt://b\", password = \"{secret}\"");
    let mut command = simbridge();
    command.arg("check").env("SIMBRIDGE__SOURCE__MQTT", block);
    leaked.extend(leaks(&canaries, "a variable", 78, command).await);
    assert!(leaked.is_empty(), "{leaked:#?}");
}

/// Catches an address that is repeated because it cannot be read, and a driver that logs what it sends.
#[tokio::test]
async fn a_database_that_is_not_reached_is_told_without_its_password() {
    let (mut canaries, database) = (Canaries::default(), TestDatabase::new().await);
    let secret = canaries.make("the database's password");
    let wrong = TestServer::shared().url_as("bridge", &secret, &database.name);
    let mut leaked = Vec::new();
    for (url, code) in [
        (wrong, 78),
        (format!("postgres://me:{secret}@127.0.0.1:1/usage?sslmode=require"), 69),
        (format!("postgres://me:{secret}@db:port/usage"), 78),
        (format!("postgres://me@db/usage?password={secret}&{secret}=1"), 78),
        (format!("postgres://me@db/usage?pass={secret}"), 78),
        (format!("host=db password=half {secret} user=me"), 78),
        (format!("host=db password='{secret}"), 78),
        (secret.clone(), 78),
    ] {
        let commands = [&["serve", "--mqtt-addr", "127.0.0.1:0"][..], &["migrate"]];
        // A server that is away is waited for, so that is tried once.
        for arguments in commands.into_iter().take(if code == 69 { 1 } else { 2 }) {
            let mut command = simbridge();
            command.args(arguments).env("DATABASE_URL", &url);
            leaked.extend(leaks(&canaries, &format!("{arguments:?} {url}"), code, command).await);
        }
        let mut command = simbridge();
        command.arg("check").env("DATABASE_URL", &url);
        let (_, text) = said(command).await;
        leaked.extend(canaries.found(&text));
    }
    assert!(leaked.is_empty(), "{leaked:#?}");
}
