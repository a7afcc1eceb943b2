//! Who may use whom, and how the sources are kept.

use std::fs;
use std::path::{Path, PathBuf};

/// Every file below `directory` with this ending, as its path from the root of the repository and its text.
fn files(directory: &str, ending: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut directories: Vec<PathBuf> = vec![root.join(directory)];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == ending) {
                let name = path.strip_prefix(root).expect("below the root").to_string_lossy().into_owned();
                found.push((name, fs::read_to_string(&path).expect("text")));
            }
        }
    }
    found.sort();
    found
}

/// Lines of code, without comments.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(|line| line.split("//").next().unwrap_or(line))
}

/// Modules of this crate that a file names, as `crate::…` and in grouped imports of the crate.
fn modules(text: &str) -> Vec<String> {
    let joined = code(text).collect::<Vec<_>>().join(" ");
    let name =
        |rest: &str| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("").to_owned();
    joined
        .split("crate::")
        .skip(1)
        .flat_map(|rest| match rest.strip_prefix('{') {
            Some(group) => group.split('}').next().unwrap_or("").split(',').map(|m| name(m.trim())).collect(),
            None => vec![name(rest)],
        })
        .filter(|module| !module.is_empty())
        .collect()
}

fn within(file: &str, places: &[&str]) -> bool {
    places.iter().any(|place| file.starts_with(place))
}

#[test]
fn each_outside_library_is_used_in_one_place() {
    let allowed: [(&str, &[&str]); 16] = [
        ("opentelemetry", &["src/traces/"]),
        ("opentelemetry_proto", &["src/traces/"]),
        ("opentelemetry_sdk", &["src/traces/"]),
        ("prost", &["src/traces/"]),
        ("rcgen", &["src/cli/certs.rs", "src/broker/tests/"]),
        ("tokio_rustls", &["src/broker/", "src/source/mqtt/wire/"]),
        ("tokio_tungstenite", &["src/broker/"]),
        ("x509_cert", &["src/broker/certificate.rs"]),
        ("rumqttc", &["src/source/", "src/broker/tests/"]),
        ("rumqttd", &["src/broker/"]),
        ("tokio_postgres", &["src/store/"]),
        ("deadpool_postgres", &["src/store/"]),
        ("parquet", &["src/store/archive/"]),
        ("axum", &["src/api/", "src/dashboard/"]),
        ("hyper", &["src/api/"]),
        ("hyper_util", &["src/api/"]),
    ];
    for (file, text) in files("src", "rs") {
        for (library, places) in allowed {
            let paths = [format!("{library}::"), format!("use {library};")];
            // A crate whose name only begins alike, such as tokio_postgres_rustls, is another one.
            let uses = code(&text).any(|line| {
                paths.iter().any(|path| {
                    line.match_indices(path)
                        .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
                })
            });
            assert!(!uses || within(&file, places), "{file} uses {library}");
        }
    }
}

#[test]
fn layers_use_only_those_below_them() {
    // What follows the crate's name in a file of the layer, beside the layer itself.
    let allowed: [(&str, &[&str]); 13] = [
        ("domain", &[]),
        ("payload", &["domain"]),
        ("store", &["domain", "traces"]),
        ("ingest", &["domain", "payload", "shutdown", "store", "traces"]),
        ("outgoing", &[]),
        ("traces", &["outgoing"]),
        ("source", &["domain", "ingest", "outgoing", "payload", "shutdown", "store"]),
        ("inventory", &["domain", "store"]),
        ("rollup", &["domain", "store", "traces"]),
        ("reconcile", &["domain", "store"]),
        ("alerts", &["broker", "domain", "outgoing", "store"]),
        ("dashboard", &[]),
        (
            "api",
            &[
                "alerts",
                "config",
                "dashboard",
                "domain",
                "ingest",
                "inventory",
                "metrics",
                "payload",
                "replay",
                "store",
                "traces",
            ],
        ),
    ];
    for (file, text) in files("src", "rs") {
        let layer = file.trim_start_matches("src/").split(['/', '.']).next().unwrap_or("").to_owned();
        for module in modules(&text) {
            if let Some((_, below)) = allowed.iter().find(|(name, _)| *name == layer) {
                assert!(module == layer || below.contains(&&*module), "{file} uses {module}");
            }
            if module == "app" || module == "cli" {
                assert!(within(&file, &["src/app", "src/cli", "src/main.rs"]), "{file} uses {module}");
            }
        }
    }
}

/// Catches SQL outside the store, where nobody looks for it.
#[test]
fn sql_stands_in_files_of_the_store() {
    for (file, text) in files("src", "rs") {
        let sql = code(&text).any(|line| {
            ["\"SELECT ", "\"INSERT ", "\"UPDATE ", "\"DELETE FROM"].iter().any(|start| line.contains(start))
        });
        assert!(!sql || file.contains("/tests"), "{file} holds SQL");
    }
}

/// Catches a statement that nobody runs any more, and one that does not say what it is for.
#[test]
fn every_sql_file_is_used_and_says_what_it_is_for() {
    let sources: String = files("src/store", "rs").into_iter().map(|(_, text)| text).collect();
    for (file, text) in files("src/store/sql", "sql") {
        let name = file.trim_start_matches("src/store/sql/").trim_end_matches(".sql");
        let used = sources.contains(&format!("\"{name}\"")) || sources.contains(&format!("{name}.sql\""));
        assert!(used, "{file} is not used");
        let purpose = text.lines().next().and_then(|line| line.strip_prefix("-- store::")).unwrap_or("");
        assert!(purpose.split_once(": ").is_some_and(|(_, what)| !what.is_empty()), "{file} does not say it");
    }
}

#[test]
fn no_file_is_longer_than_400_lines() {
    let all = files("src", "rs").into_iter().chain(files("tests", "rs")).chain(files("simulator", "rs"));
    for (file, text) in all {
        let lines = text.lines().count();
        assert!(lines <= 400, "{file} has {lines}");
    }
}
