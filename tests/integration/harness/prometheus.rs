use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::api::client;
use super::{PATIENCE, eventually};

/// Whether it is here. Without it there is nothing to prove on this machine; in CI it must be here.
pub(crate) fn installed() -> bool {
    let found = ["prometheus", "promtool"]
        .iter()
        .all(|program| std::process::Command::new(program).arg("--version").output().is_ok());
    assert!(found || std::env::var_os("CI").is_none(), "install prometheus");
    if !found {
        eprintln!("NOT RUN: install prometheus to run this test");
    }
    found
}

/// A file or directory of the repository below `config/`.
pub(crate) fn config(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)
}

/// A Prometheus that looks often. Killed when dropped.
pub(crate) struct Prometheus {
    _child: Child,
    base: String,
    client: reqwest::Client,
    _directory: tempfile::TempDir,
}

/// An alert that fires, by its labels.
pub(crate) type Labels = HashMap<String, String>;

impl Prometheus {
    /// It scrapes these instances and evaluates the repository's own rules, without what they wait (`for`), which
    /// `promtool test rules` proves.
    pub(crate) async fn watching(instances: &[SocketAddr]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let rules = std::fs::read_to_string(config("prometheus/rules/simbridge.yml")).expect("rules");
        let waits = |line: &&str| line.trim_start().starts_with("for:");
        assert!(rules.lines().any(|line| waits(&line)), "there is something to leave out");
        let at_once: Vec<&str> = rules.lines().filter(|line| !waits(line)).collect();
        let targets: Vec<String> = instances.iter().map(|address| format!("\"{address}\"")).collect();
        let settings = format!(
            "global: {{scrape_interval: 2s, scrape_timeout: 2s, evaluation_interval: 500ms}}\nrule_files: [rules.yml]\n\
             scrape_configs: [{{job_name: simbridge, static_configs: [{{targets: [{}]}}]}}]\n",
            targets.join(", ")
        );
        std::fs::write(directory.path().join("rules.yml"), at_once.join("\n")).expect("it is ours");
        std::fs::write(directory.path().join("prometheus.yml"), settings).expect("it is ours");
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", directory.path().join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .env("GOMAXPROCS", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().expect("prometheus is installed");
        let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let listens = async {
            let mut said = Vec::new();
            while let Ok(Some(line)) = lines.next_line().await {
                // The port that it was given stands in the second of two lines.
                if line.contains("\"Listening on\"") {
                    let address = line.split("address=").nth(1).expect("an address");
                    return address.trim().trim_matches('"').to_owned();
                }
                said.push(line);
            }
            panic!("it did not start: {said:#?}");
        };
        let address = tokio::time::timeout(PATIENCE, listens).await.expect("it starts in time");
        // What it says is read on, or it would wait for a reader.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let base = format!("http://{address}/api/v1/");
        Self { _child: child, base, client: client(), _directory: directory }
    }

    /// `data` of an answer; `None` until it is ready.
    async fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Option<Value> {
        let url =
            url::Url::parse_with_params(&format!("{}{path}", self.base), parameters).expect("an address");
        let answer: Value = self.client.get(url).send().await.ok()?.json().await.ok()?;
        assert_ne!(answer["status"], "error", "{parameters:?}: {answer}");
        Some(answer["data"].clone())
    }

    /// What an expression gives now: labels and value of each series.
    pub(crate) async fn query(&self, expression: &str) -> Vec<Value> {
        let found = eventually("an answer", async || self.ask("query", &[("query", expression)]).await).await;
        found["result"].as_array().expect("a vector").clone()
    }

    /// Labels of the alerts that fire now.
    pub(crate) async fn firing(&self) -> Vec<Labels> {
        let found = eventually("an answer", async || self.ask("alerts", &[]).await).await;
        let alerts = found["alerts"].as_array().expect("a list").iter();
        let firing = alerts.filter(|alert| alert["state"] == "firing");
        firing.map(|alert| serde_json::from_value(alert["labels"].clone()).expect("labels")).collect()
    }

    /// Waits until an alert fires that has these labels, and no other.
    pub(crate) async fn fires(&self, alert: &str, labels: &[(&str, &str)]) {
        eventually(&format!("{alert} fires"), async || {
            let firing = self.firing().await;
            let ours: Vec<_> = firing.iter().filter(|found| found["alertname"] == alert).collect();
            let as_told = |found: &&&Labels| {
                labels.iter().all(|(name, value)| found.get(*name).is_some_and(|found| found == value))
            };
            (!ours.is_empty() && ours.iter().filter(as_told).count() == ours.len()).then_some(())
        })
        .await;
    }

    /// Waits until no alert of this name fires.
    pub(crate) async fn resolves(&self, alert: &str) {
        eventually(&format!("{alert} is over"), async || {
            self.firing().await.iter().all(|found| found["alertname"] != alert).then_some(())
        })
        .await;
    }

    /// Waits until every instance was scraped and the rules were evaluated after that.
    pub(crate) async fn has_looked(&self, instances: usize) {
        let expected = instances.to_string();
        let up = "count(simbridge_build_info) and sum(count_over_time(up[10m])) >= 3";
        eventually("it scrapes", async || {
            let found = self.query(up).await;
            (found.first()?["value"][1].as_str() == Some(&*expected)).then_some(())
        })
        .await;
        let evaluated = async || {
            let rules = self.ask("rules", &[]).await?;
            Some(rules["groups"][0]["lastEvaluation"].as_str()?.to_owned())
        };
        for _ in 0..2 {
            let before = eventually("rules", &evaluated).await;
            eventually("an evaluation", async || (evaluated().await? != before).then_some(())).await;
        }
    }

    /// Nothing fires, and that is not because nothing was looked at. On a busy machine a scrape may come too late, which is over
    /// with the next one.
    pub(crate) async fn is_quiet(&self, instances: usize) {
        self.has_looked(instances).await;
        eventually("nothing fires", async || self.firing().await.is_empty().then_some(())).await;
    }
}
