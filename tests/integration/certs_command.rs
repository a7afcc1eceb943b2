//! `simbridge certs create`, and what it prints.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use tokio::process::Command;

use crate::harness::PATIENCE;
use crate::harness::bridge::{BridgeOptions, BridgeProcess, simbridge};
use crate::harness::database::TestDatabase;

async fn create(directory: &std::path::Path, more: &[&str]) -> (Option<i32>, String, String) {
    let mut command = simbridge();
    command.args(["certs", "create", "--dir"]).arg(directory).args(more);
    let output = command.output().await.expect("it starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// A line of a shell, with the program where it calls for `simbridge`.
async fn shell(line: &str, database: &TestDatabase) {
    let mut command = Command::new("sh");
    command.args(["-euc", &line.replace("simbridge ", &format!("{} ", env!("CARGO_BIN_EXE_simbridge")))]);
    command.env("DATABASE_URL", database.url()).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends").expect("it starts");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_prints_works_as_printed() {
    if !crate::mosquitto::installed() {
        return;
    }
    let database = TestDatabase::new().await;
    let directory = tempfile::tempdir().expect("a directory");
    // Made by the command, with a name that a shell would take apart.
    let directory = directory.path().join("new/it's here");
    let (code, said, error) = create(&directory, &["--device", "meter-7", "--device", "meter-8"]).await;
    assert_eq!(code, Some(0), "{error}");

    let (settings, rest) =
        said.split_once("[mqtt.tls]\n").expect("settings").1.split_once("\n\n").expect("more");
    let settings: toml::Table = settings.parse().expect("TOML");
    assert_eq!(settings["listen"].as_str(), Some("0.0.0.0:8883"));
    let mut options = BridgeOptions::new(database.url());
    options.anonymous = false;
    for key in ["certificate_file", "key_file", "client_certificate", "client_ca_file"] {
        let value = settings[key].as_str().expect("text");
        options.set(&format!("mqtt.tls.{key}"), value);
    }
    // A free port in the place of the usual one, here and below.
    options.set("mqtt.tls.listen", "127.0.0.1:0");
    let bridge = BridgeProcess::start(&options).await;
    let port = format!("-p {} ", bridge.mqtts.expect("TLS is on").port());
    let lines: Vec<&str> = rest
        .lines()
        .filter(|line| line.starts_with("simbridge ") || line.starts_with("mosquitto_pub "))
        .collect();
    assert_eq!(lines.len(), 3, "{rest}");
    for line in lines {
        shell(&line.replace("-p 8883 ", &port), &database).await;
    }
    assert_eq!(database.text("SELECT total_bytes FROM usage_records", &[]).await, "1024");
}

/// Catches keys that everybody on the machine can read, and an authority lost because the command was run twice.
#[tokio::test(flavor = "multi_thread")]
async fn keys_are_private_and_nothing_is_overwritten() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    assert_eq!(create(path, &["--device", "a"]).await.0, Some(0));
    for name in ["ca", "server", "a"] {
        let mode =
            |ending| path.join(format!("{name}.{ending}")).metadata().expect("made").permissions().mode();
        assert_eq!((mode("key") & 0o777, mode("pem") & 0o777), (0o600, 0o644), "{name}");
    }
    let before: Vec<_> =
        ["ca.key", "ca.pem", "a.key"].map(|name| std::fs::read(path.join(name)).unwrap()).into();
    std::fs::remove_file(path.join("ca.pem")).expect("removed");
    let (code, _, error) = create(path, &["--device", "b"]).await;
    assert_eq!(code, Some(2));
    assert!(error.contains("ca.key exists; it is not overwritten"), "{error}");
    assert!(!path.join("ca.pem").exists() && !path.join("b.key").exists(), "nothing was begun");
    assert_eq!(std::fs::read(path.join("ca.key")).unwrap(), before[0]);
    assert_eq!(create(path, &["--device", "../b"]).await.0, Some(2));
}
