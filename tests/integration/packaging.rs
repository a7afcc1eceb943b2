//! What is installed beside the program.

use std::path::{Path, PathBuf};
use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_simbridge");

fn packaging(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(name)
}

/// Catches directives that systemd does not know, or does not take with this value: it goes on without them.
#[test]
fn the_unit_is_one_that_systemd_takes_as_it_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let unit = std::fs::read_to_string(packaging("simbridge.service")).expect("a unit");
    // Verified as if it were installed.
    let place = directory.path().join("simbridge.service");
    std::fs::write(&place, unit.replace("/usr/bin/simbridge", PROGRAM)).expect("a file");
    let Ok(output) = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&place).output() else {
        eprintln!("NOT RUN: systemd-analyze is not installed");
        return;
    };
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaints.is_empty(), "{complaints}");
}

/// Catches a configuration of the package that the program refuses, and one that others can reach.
#[test]
fn the_packaged_configuration_is_valid_and_opens_nothing() {
    let output = Command::new(PROGRAM)
        .env_clear()
        .args(["check", "--config"])
        .arg(packaging("simbridge.toml"))
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("data_dir = \"/var/lib/simbridge\""), "{said}");
    let section = |name: &str| {
        let begins = format!("[{name}]\n");
        said.split_once(&begins).and_then(|(_, rest)| rest.split("\n[").next()).unwrap_or_default()
    };
    assert!(
        section("mqtt").contains("\nlisten = \"127.0.0.1:1883\"")
            && section("mqtt").contains("anonymous = false")
    );
    assert!(section("http").contains("\nlisten = \"127.0.0.1:8080\""), "{said}");
}
