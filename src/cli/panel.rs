use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::{Database, Owner, StartError, panel_by_name};
use crate::config::Loaded;
use crate::domain::Clock;
use crate::ingest::metrics::IngestMetrics;
use crate::ingest::{self, DatabaseState};
use crate::source::panel::{Counted, Meaning, PanelSource, SyncFault};
use crate::source::readings::Outcome;
use crate::store::Store;
use crate::store::accounts::ACCOUNT_MAX_CHARS;

use super::failure::Failure;
use super::table::printable;

#[derive(Debug, Subcommand)]
pub(super) enum PanelCommand {
    /// Read one account now, store what is new, and say what was found; exit code 1 when it does not count
    SyncOne {
        /// As the panel writes it
        #[arg(value_parser = account)]
        account: String,
        /// Name of the panel in the configuration [default: the only one]
        #[arg(long, value_name = "NAME")]
        source: Option<String>,
    },
}

fn account(text: &str) -> Result<String, String> {
    if (1..=ACCOUNT_MAX_CHARS).contains(&text.chars().count()) {
        Ok(text.to_owned())
    } else {
        Err(format!("an account has 1 to {ACCOUNT_MAX_CHARS} characters"))
    }
}

impl From<SyncFault> for Failure {
    fn from(fault: SyncFault) -> Self {
        match fault {
            SyncFault::Store(error) => error.into(),
            fault @ (SyncFault::Panel(_) | SyncFault::Waits(_) | SyncFault::Busy) => {
                Self::new(69, printable(&fault.to_string()))
            }
            fault => Self::new(1, printable(&fault.to_string())),
        }
    }
}

pub(super) async fn run(command: PanelCommand, loaded: &Loaded) -> Result<ExitCode, Failure> {
    let PanelCommand::SyncOne { account, source } = command;
    let name = name(loaded, source)?;
    let database = Database::open(&loaded.config, Owner::Command).await?;
    let result = sync_one(&account, &name, &database.store, loaded).await;
    database.close().await;
    result
}

/// The panel that is meant.
fn name(loaded: &Loaded, stated: Option<String>) -> Result<String, Failure> {
    let names: Vec<&str> = loaded.config.source.panel.iter().map(|panel| panel.name.as_str()).collect();
    match (stated, names.as_slice()) {
        (Some(name), names) if names.contains(&name.as_str()) => Ok(name),
        (Some(name), _) => {
            Err(Failure::new(1, format!("the configuration has no panel `{}`", printable(&name))))
        }
        (None, [only]) => Ok((*only).to_owned()),
        (None, []) => Err(Failure::new(1, "the configuration has no [[source.panel]]")),
        (None, names) => Err(Failure::new(2, format!("say which one with --source: {}", names.join(", ")))),
    }
}

async fn sync_one(account: &str, name: &str, store: &Store, loaded: &Loaded) -> Result<ExitCode, Failure> {
    let clock = Clock::System;
    store.migrate().await.map_err(StartError::from)?;
    store.ensure_partitions(clock.now(), loaded.config.ingest.max_age_days.into()).await?;
    let panel = panel_by_name(&loaded.config, name, store, clock).await?;
    let panel: PanelSource = panel.expect("its name was found in the configuration");
    let (tasks, hard) = (TaskTracker::new(), CancellationToken::new());
    let metrics = Arc::new(IngestMetrics::default());
    let (options, state) = (loaded.config.ingest.pipeline_options(), DatabaseState::default());
    let queue = ingest::start(&options, store.clone(), clock, metrics, state, &tasks, &hard);
    tasks.close();
    let synced = panel.sync_one(&queue, account).await;
    drop(queue);
    tasks.wait().await;
    let counted = synced?;
    print!("{}", shown(account, name, &counted));
    let counts = !matches!(counted.outcome, None | Some(Outcome::UnknownAccount | Outcome::Parked(_)));
    Ok(if counts { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn shown(account: &str, source: &str, counted: &Counted) -> String {
    let previous = match &counted.previous {
        Some(held) => {
            let read = held.taken_at.format("%F %T UTC");
            format!("{} bytes, read {read} for SIM {}", held.upload_bytes + held.download_bytes, held.iccid)
        }
        None => "none".into(),
    };
    let figure = &counted.figure;
    let split = match figure.upload_bytes {
        0 => String::new(),
        upload => format!(" (upload {upload}, download {})", figure.download_bytes),
    };
    let stored = match (&counted.outcome, counted.meaning) {
        (Some(Outcome::Stored), Some(Meaning::Reset)) => "yes; the panel's value began anew".to_owned(),
        (Some(Outcome::Stored), _) => "yes".into(),
        (Some(Outcome::Base), _) => "as the base from which the next reading counts".into(),
        (Some(Outcome::Nothing), _) => "no, nothing is new".into(),
        (Some(Outcome::UnknownAccount), _) => {
            format!(
                "no, the account stands for no SIM; say which: simbridge accounts set {account} --iccid ICCID --source {source}"
            )
        }
        (Some(Outcome::Parked(why)), _) => format!("no, it is parked: {why}"),
        (None, Some(Meaning::Doubtful)) => {
            "no, the value fell far; it counts as a reset when the schedule finds that it stays there".into()
        }
        (None, _) => "no, the value went back; it counts again when it passes the previous one".into(),
    };
    let delta = match counted.outcome {
        Some(Outcome::Stored) => counted.delta_bytes(),
        _ => 0,
    };
    let lines = [
        ("account", format!("{account} of {source}")),
        ("fetched", figure.found.clone()),
        ("previous", previous),
        ("current", format!("{} bytes{split}", figure.total_bytes())),
        ("delta", format!("{delta} bytes")),
        ("stored", stored),
    ];
    lines.iter().map(|(name, text)| format!("{name:9} {}\n", printable(text))).collect()
}
