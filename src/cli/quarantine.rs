use std::path::PathBuf;
use std::process::ExitCode;

use bytes::Bytes;
use clap::Subcommand;

use crate::app::{Database, Owner, StartError};
use crate::config::Loaded;
use crate::domain::Clock;
use crate::ingest::queue::RecordStatus;
use crate::replay::{Replay, ReplayError, ReplayRules};
use crate::store::Store;
use crate::store::quarantine::{QuarantineEntry, Resolution};

use super::failure::Failure;
use super::table::{self, printable};

#[derive(Debug, Subcommand)]
pub(super) enum QuarantineCommand {
    /// List parked records, newest first
    List {
        /// parked, replayed, discarded or all
        #[arg(long, default_value = "parked", value_parser = ["parked", "replayed", "discarded", "all"])]
        state: String,
        /// Only this reason, for example invalid or conflict
        #[arg(long, default_value = "")]
        reason: String,
        /// Entries with a lower id than this, for the next page
        #[arg(long, default_value_t = i64::MAX, hide_default_value = true)]
        before: i64,
        /// Entries of one page
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=10_000))]
        limit: i64,
    },
    /// Show one parked record with its payload
    Show { id: i64 },
    /// Decode parked records again and store them, after the cause was mended
    ///
    /// A record that is still at fault stays parked, and the reason is printed.
    Replay {
        #[arg(required = true)]
        ids: Vec<i64>,
        /// A mended payload in place of the parked one (one id only)
        #[arg(long, value_name = "FILE")]
        payload: Option<PathBuf>,
        /// Accept a correction: you have the permission that its sender lacked
        #[arg(long)]
        allow_corrections: bool,
    },
    /// Take records out of the list without storing them
    Discard {
        #[arg(required = true)]
        ids: Vec<i64>,
    },
}

pub(super) async fn run(command: QuarantineCommand, loaded: &Loaded) -> Result<ExitCode, Failure> {
    let database = Database::open(&loaded.config, Owner::Command).await?;
    let result = on(command, &database.store, loaded).await;
    database.close().await;
    result
}

async fn on(command: QuarantineCommand, store: &Store, loaded: &Loaded) -> Result<ExitCode, Failure> {
    store.migrate().await.map_err(StartError::from)?;
    match command {
        QuarantineCommand::List { state, reason, before, limit } => {
            let state = if state == "all" { "" } else { &state };
            list(&store.list_quarantine(state, &reason, before, limit).await?, limit);
            Ok(ExitCode::SUCCESS)
        }
        QuarantineCommand::Show { id } => {
            show(&entry(store, id).await?);
            Ok(ExitCode::SUCCESS)
        }
        QuarantineCommand::Replay { ids, payload, allow_corrections } => {
            replay(store, loaded, &ids, payload, allow_corrections).await
        }
        QuarantineCommand::Discard { ids } => discard(store, &ids).await,
    }
}

async fn entry(store: &Store, id: i64) -> Result<QuarantineEntry, Failure> {
    store.show_quarantine(id).await?.ok_or_else(|| Failure::new(1, format!("there is no parked record {id}")))
}

fn list(entries: &[QuarantineEntry], limit: i64) {
    let rows: Vec<Vec<String>> = entries
        .iter()
        .map(|entry| {
            vec![
                entry.id.to_string(),
                entry.last_seen_at.format("%F %T").to_string(),
                entry.seen_count.to_string(),
                entry.state.clone(),
                entry.reason.clone(),
                printable(entry.iccid.as_deref().unwrap_or("-")),
                printable(entry.record_id.as_deref().unwrap_or("-")),
                printable(&entry.detail),
            ]
        })
        .collect();
    table::print(
        &["ID", "LAST SEEN (UTC)", "SEEN", "STATE", "REASON", "ICCID", "RECORD", "WHAT IS WRONG"],
        &rows,
    );
    if entries.len() as i64 == limit
        && let Some(last) = entries.last()
    {
        println!("more with --before {}", last.id);
    }
}

fn show(entry: &QuarantineEntry) {
    println!("id          {}", entry.id);
    println!("state       {}", entry.state);
    println!("reason      {}", entry.reason);
    println!("wrong       {}", printable(&entry.detail));
    println!("ICCID       {}", printable(entry.iccid.as_deref().unwrap_or("-")));
    println!("record      {}", printable(entry.record_id.as_deref().unwrap_or("-")));
    println!("came        by {} from {}", entry.via, printable(&entry.sender));
    println!("topic       {}", printable(&entry.topic));
    println!("first seen  {}", entry.first_seen_at.format("%F %T UTC"));
    println!("last seen   {}, {} times in all", entry.last_seen_at.format("%F %T UTC"), entry.seen_count);
    println!(
        "payload     {} bytes:\n{}",
        entry.payload.len(),
        printable(&String::from_utf8_lossy(&entry.payload))
    );
}

async fn replay(
    store: &Store,
    loaded: &Loaded,
    ids: &[i64],
    payload: Option<PathBuf>,
    allow_corrections: bool,
) -> Result<ExitCode, Failure> {
    let mended = match payload {
        Some(_) if ids.len() > 1 => {
            return Err(Failure::new(2, "--payload mends one record, several ids are given"));
        }
        Some(path) => {
            let cannot = |e| Failure::new(2, format!("cannot read {}: {e}", path.display()));
            Some(Bytes::from(std::fs::read(&path).map_err(cannot)?))
        }
        None => None,
    };
    let rules = ReplayRules::new(&loaded.config);
    let replay = Replay { store, rules: &rules, clock: Clock::System, allow_corrections };
    let mut code = ExitCode::SUCCESS;
    for id in ids {
        let entry = entry(store, *id).await?;
        match replay.run(&entry, mended.clone()).await {
            Ok(receipts) => {
                let stored =
                    receipts.iter().filter(|r| matches!(r.status, RecordStatus::Stored { .. })).count();
                println!("{id}: {stored} stored, {} stored before", receipts.len() - stored);
            }
            Err(ReplayError::Store(error)) => return Err(error.into()),
            Err(refused) => {
                eprintln!("{id}: {}", printable(&refused.to_string()));
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

async fn discard(store: &Store, ids: &[i64]) -> Result<ExitCode, Failure> {
    let mut code = ExitCode::SUCCESS;
    for id in ids {
        if store.resolve_quarantine(*id, Resolution::Discarded).await? {
            println!("{id}: discarded");
        } else {
            eprintln!("{id}: is not parked");
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}
