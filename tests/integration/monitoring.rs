//! `config/prometheus`, `config/grafana` and what of `docker-compose.yml` belongs to them fit the program that they are shipped with.

use std::collections::BTreeSet;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;
use simbridge::store::roles::LoginCreated;
use tokio::net::TcpStream;
use yaml_rust2::{Yaml, YamlLoader};

use crate::database_roles::PASSWORD;
use crate::database_roles_readers::three_tenants;
use crate::harness::bridge::{BridgeOptions, BridgeProcess};
use crate::harness::certificates::Certificates;
use crate::harness::eventually;
use crate::harness::packets::Client;
use crate::harness::pipeline::record;
use crate::harness::prometheus::{Prometheus, config, installed};
use crate::harness::server::{connect, open_to_others};

const ICCID: &str = "8941000000000000001";
/// The files that have tests of alerts in them; each alert is made to fire there.
const FIRED: &str = include_str!("alerts_of_operations.rs");

fn text(path: &std::path::Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn yaml(path: &std::path::Path) -> Yaml {
    YamlLoader::load_from_str(&text(path)).expect("YAML").remove(0)
}

/// Name, expression and annotation `runbook` of each alert.
fn alerts() -> Vec<(String, String, String)> {
    let rules = yaml(&config("prometheus/rules/simbridge.yml"));
    let of = |rule: &Yaml| {
        let word = |value: &Yaml| value.as_str().expect("a text").to_owned();
        (word(&rule["alert"]), word(&rule["expr"]), word(&rule["annotations"]["runbook"]))
    };
    let groups = rules["groups"].as_vec().expect("groups").iter();
    groups.flat_map(|group| group["rules"].as_vec().expect("rules")).map(of).collect()
}

fn dashboards() -> Vec<Value> {
    let files = std::fs::read_dir(config("grafana/dashboards")).expect("a directory");
    files.map(|file| serde_json::from_str(&text(&file.expect("a file").path())).expect("JSON")).collect()
}

/// Each query with its source's uid and the panel or variable that it is of.
fn queries(field: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for board in dashboards() {
        for panel in board["panels"].as_array().expect("panels") {
            let title = format!("{}, {}", board["title"], panel["title"]);
            for target in panel["targets"].as_array().expect("targets") {
                if let Some(query) = target[field].as_str() {
                    found.push((title.clone(), query.to_owned()));
                }
            }
        }
    }
    assert!(found.len() > 10, "{field}: {found:?}");
    found
}

/// Catches rules and settings that Prometheus does not take, and alerts that fire at another time than is said.
#[test]
fn prometheus_takes_the_rules_and_fires_when_their_tests_say() {
    if !installed() {
        return;
    }
    for arguments in [
        ["check", "config", "prometheus/prometheus.yml"],
        ["check", "rules", "prometheus/rules/simbridge.yml"],
        ["test", "rules", "prometheus/simbridge.test.yml"],
    ] {
        let [verb, what, file] = arguments;
        let output =
            Command::new("promtool").args([verb, what]).arg(config(file)).output().expect("it starts");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }
}

/// Catches an alert that nobody can look up, whose time is not tested, or that was never seen to fire; and an entry of the runbook
/// for an alert that there is none of.
#[test]
fn every_alert_has_an_entry_in_the_runbook_and_was_seen_to_fire() {
    let runbook = text(&config("../docs/RUNBOOK.md"));
    let entries: BTreeSet<&str> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .filter(|name| name.starts_with("Simbridge"))
        .collect();
    let tested = text(&config("prometheus/simbridge.test.yml"));
    let mut names = BTreeSet::new();
    for (name, _, leads_to) in alerts() {
        // The anchor that Markdown gives to a heading.
        assert_eq!(leads_to, format!("docs/RUNBOOK.md#{}", name.to_lowercase()));
        assert!(entries.contains(&*name), "{name} is not in docs/RUNBOOK.md");
        assert!(tested.contains(&format!("alertname: {name}\n")), "{name} is not in simbridge.test.yml");
        assert!(FIRED.contains(&format!(".fires(\"{name}\"")), "no test makes {name} fire");
        names.insert(name);
    }
    let known: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(entries, known);
}

/// Metrics of ours that a query names.
fn metrics(query: &str) -> BTreeSet<&str> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("simbridge_")).collect()
}

/// Catches a metric, a label or a value of a label that the program does not tell: the panel stays empty, the alert silent.
#[tokio::test(flavor = "multi_thread")]
async fn every_figure_of_the_dashboards_and_alerts_is_one_that_the_program_tells() {
    if !installed() {
        return;
    }
    let (directory, certificates) =
        (tempfile::tempdir().expect("a directory"), Certificates::create(&[]).await);
    open_to_others(directory.path());
    // A database of its own, whose disk is watched.
    let mut options = BridgeOptions::new("");
    options.set("data_dir", directory.path().join("data").display().to_string());
    options.set("reconcile.pause_ms", "100");
    certificates.configure(&mut options);
    options.set("mqtt.tls.client_certificate", "optional");
    options.set("mqtt.tls.client_ca_file", certificates.text("ca.pem"));
    options.env.push((
        "SIMBRIDGE__SOURCE__MQTT".into(),
        "[{ name = \"plant\", url = \"mqtt://127.0.0.1:9\" }]".into(),
    ));
    let bridge = BridgeProcess::start(&options).await;
    let prometheus = Prometheus::watching(&[bridge.http]).await;
    let stream = TcpStream::connect(bridge.mqtt).await.expect("it listens");
    let (mut device, _) = Client::connect(stream, "meter", None).await.expect("a CONNACK");
    device.publish(1, ICCID, &record("a", 1, 1, 1)).await.expect("a PUBACK");
    device.publish(2, ICCID, "{}").await.expect("a PUBACK");
    drop(device);
    let passes = "simbridge_reconcile_passes_total";
    eventually(passes, async || (bridge.metric(passes).await >= 1.0).then_some(())).await;
    let ended = "simbridge_mqtt_disconnects_total";
    eventually(ended, async || (bridge.metric(ended).await >= 1.0).then_some(())).await;
    prometheus.has_looked(1).await;

    for (panel, query) in queries("expr") {
        let query = query.replace("$instance", ".*").replace("$__rate_interval", "10m");
        // A rate needs two looks.
        eventually(&format!("{panel}: {query}"), async || {
            (!prometheus.query(&query).await.is_empty()).then_some(())
        })
        .await;
        for metric in metrics(&query) {
            assert!(!prometheus.query(metric).await.is_empty(), "{panel}: nothing tells {metric}");
        }
    }
    for (alert, query, _) in alerts() {
        assert!(alert == "SimbridgeDown" || !metrics(&query).is_empty(), "{alert}: {query}");
        for metric in metrics(&query) {
            assert!(!prometheus.query(metric).await.is_empty(), "{alert}: nothing tells {metric}");
        }
    }
    bridge.signal(Signal::SIGTERM);
    assert_eq!(bridge.ended().await, Some(0));
}

/// Catches a query that the login of the dashboards may not ask, one that is no SQL, and a reader of all tenants that sees some, or
/// that changes something.
#[tokio::test]
async fn every_query_of_the_dashboards_shows_rows_of_all_tenants_to_their_login() {
    let database = three_tenants().await;
    let name = format!("{}_grafana", database.name);
    let made = database.owner().create_reader_of_all(&name, PASSWORD).await.expect("a login");
    assert_eq!(made, LoginCreated::Created);
    let mut config = database.another_config();
    config.user(&name).password(PASSWORD);
    let reader = connect(&config).await;
    database.tenant("later", "UTC").await;
    let mut variables = Vec::new();
    for board in dashboards() {
        for variable in board["templating"]["list"].as_array().expect("a list") {
            if variable["datasource"]["uid"] == "simbridge-postgres" {
                variables.push(variable["query"].as_str().expect("a query").to_owned());
            }
        }
    }
    let [tenants] = variables.as_slice() else { panic!("{variables:?}") };
    let tenants = reader.query(tenants, &[]).await.expect("it may");
    let tenants: Vec<String> = tenants.iter().map(|row| row.get(0)).collect();
    assert_eq!(tenants, ["default", "later", "second", "third"]);
    // The current cycle is one of now.
    database.store.roll_cycles(crate::harness::database::now()).await.expect("cycles");
    for (panel, query) in queries("rawSql") {
        // As Grafana does it.
        let list = tenants.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(",");
        let query = query
            .replace("$tenant", &list)
            .replace("$__timeFrom()", "'2026-01-01T00:00:00Z'")
            .replace("$__timeTo()", "'2026-12-31T23:59:59Z'");
        assert!(!query.contains('$'), "{panel}: {query}");
        let rows =
            reader.query(&query, &[]).await.unwrap_or_else(|error| panic!("{panel}: {query}: {error:?}"));
        assert!(!rows.is_empty(), "{panel} shows nothing: {query}");
    }
    let usage = "SELECT string_agg(DISTINCT tenant_id::text, ' ') FROM daily_usage";
    let seen: String = reader.query_one(usage, &[]).await.expect("it may").get(0);
    assert_eq!(seen, "1 2 3");
    for sql in ["SELECT * FROM quarantine", "SELECT * FROM api_keys", "SELECT * FROM all_tenant_readers"] {
        crate::database_roles::refused(&reader, sql).await;
    }
    reader.batch_execute("SET default_transaction_read_only = off").await.expect("a default");
    crate::database_roles::refused(&reader, "UPDATE daily_usage SET data_bytes = 0").await;
}

/// Catches panels whose source is not provisioned, a file that is mounted and not there, and an image without a version.
#[test]
fn compose_mounts_what_is_there_and_panels_name_sources_that_are_provisioned() {
    let sources = yaml(&config("grafana/provisioning/datasources/simbridge.yml"));
    let uids: BTreeSet<&str> = sources["datasources"]
        .as_vec()
        .expect("a list")
        .iter()
        .filter_map(|source| source["uid"].as_str())
        .collect();
    for board in dashboards() {
        let panels = board["panels"].as_array().expect("panels").iter();
        let variables = board["templating"]["list"].as_array().expect("a list").iter();
        let of_targets = panels.clone().flat_map(|panel| panel["targets"].as_array().expect("targets"));
        for user in panels.clone().chain(variables).chain(of_targets) {
            let uid = user["datasource"]["uid"].as_str().expect("a uid");
            assert!(uids.contains(uid), "{uid} of {user}");
        }
    }
    let compose = yaml(&config("../docker-compose.yml"));
    let services = compose["services"].as_hash().expect("services");
    let observes = |service: &&Yaml| {
        service["profiles"]
            .as_vec()
            .is_some_and(|all| all.iter().any(|one| one.as_str() == Some("observability")))
    };
    let observing: Vec<&Yaml> = services.values().filter(observes).collect();
    assert_eq!(observing.len(), 3, "a login, Prometheus and Grafana");
    for service in observing {
        let image = service["image"].as_str().unwrap_or("simbridge:local");
        let version = image.rsplit_once(':').map(|(_, version)| version).unwrap_or_default();
        assert!(!["", "latest", "main"].contains(&version), "{image}");
        for volume in service["volumes"].as_vec().into_iter().flatten() {
            let (from, _) = volume.as_str().and_then(|volume| volume.split_once(':')).expect("a volume");
            let here = from.strip_prefix("./").map(|path| config("..").join(path));
            let named = !compose["volumes"][from].is_badvalue();
            assert!(here.map_or(named, |path| path.exists()), "{from} is not there");
        }
    }
    let scraped = yaml(&config("prometheus/prometheus.yml"));
    let target = scraped["scrape_configs"][0]["static_configs"][0]["targets"][0].as_str();
    assert_eq!(target, Some("simbridge:8080"), "the service and the port of docker-compose.yml");
}
