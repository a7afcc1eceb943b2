//! What is installed beside the program.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
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

/// Catches `/bin/kill`, which a small Debian does not have: a reload failed there.
#[test]
fn the_unit_runs_nothing_that_a_small_debian_lacks() {
    let unit = std::fs::read_to_string(packaging("simbridge.service")).expect("a unit");
    let run: Vec<_> = unit.lines().filter(|line| line.starts_with("Exec")).collect();
    assert_eq!(run.len(), 2, "{run:?}");
    for line in run {
        let (_, program) = line.split_once('=').expect("a value");
        assert!(["/usr/bin/simbridge ", "/bin/sh "].iter().any(|there| program.starts_with(there)), "{line}");
    }
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

/// Files of the package below the directory of its documents, each with the file it is made of.
fn packaged_documents() -> BTreeMap<PathBuf, PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).expect("a manifest");
    let manifest: toml::Value = toml::from_str(&manifest).expect("TOML");
    let assets = manifest["package"]["metadata"]["deb"]["assets"].as_array().expect("assets");
    let mut documents = BTreeMap::new();
    for asset in assets {
        let (source, place) = (asset[0].as_str().expect("a source"), asset[1].as_str().expect("a place"));
        let Some(place) = place.strip_prefix("usr/share/doc/simbridge/") else { continue };
        let (directory, name) = source.rsplit_once('/').unwrap_or(("", source));
        let (before, after) = name.split_once('*').unwrap_or((name, ""));
        let mut found = 0;
        for file in std::fs::read_dir(root.join(directory)).expect("a directory") {
            let file = file.expect("an entry").file_name().into_string().expect("UTF-8");
            let of_pattern = file.starts_with(before) && file.ends_with(after);
            if of_pattern && (name.contains('*') || file == name) {
                documents.insert(Path::new(place).join(&file), root.join(directory).join(&file));
                found += 1;
            }
        }
        assert!(found > 0, "{source} is packaged and not there");
    }
    documents
}

/// Catches a document that is packaged without another one to which it refers.
#[test]
fn every_link_of_a_packaged_document_leads_to_something_in_the_package() {
    let documents = packaged_documents();
    let mut astray = Vec::new();
    for (place, source) in documents.iter().filter(|(place, _)| place.extension().is_some_and(|e| e == "md"))
    {
        let text = std::fs::read_to_string(source).expect("a document");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split(['#', ' ']).next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.starts_with('/') {
                continue;
            }
            let mut path = PathBuf::new();
            for part in place.parent().expect("a directory").join(target).components() {
                match part {
                    Component::ParentDir => {
                        assert!(path.pop(), "{link} of {place:?} leads out of the package")
                    }
                    part => path.push(part),
                }
            }
            if !documents.keys().any(|there| there.starts_with(&path)) {
                astray.push(format!("{}: {link}", place.display()));
            }
        }
    }
    assert!(astray.is_empty(), "{astray:#?}");
}
