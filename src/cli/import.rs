use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::app::{DEFAULT_TENANT, Database, Owner, StartError};
use crate::config::Loaded;
use crate::domain::Clock;
use crate::ingest::DatabaseState;
use crate::shutdown::{Signals, exit_on_next_signal, log_panics};
use crate::source::file::{
    Format, Import, ImportError, ImportRequest, Opened, Report, RunOptions, UsageFile,
};
use crate::store::Store;
use crate::store::file_imports::Committed;
use crate::telemetry;

use super::failure::Failure;
use super::progress::Progress;

/// 128 + SIGINT, as a shell reports it: not everything is imported, and nothing is wrong.
const INTERRUPTED: u8 = 130;

#[derive(Args, Debug)]
pub(super) struct ImportArgs {
    /// File to import, or - for standard input (which cannot be resumed)
    file: PathBuf,
    /// Mapping of the configuration by which a file of another system is read
    #[arg(long, value_name = "NAME", conflicts_with = "format")]
    mapping: Option<String>,
    /// Tenant in whose name the records are stored
    #[arg(long, default_value = DEFAULT_TENANT.1)]
    tenant: String,
    /// How the file is written; auto goes by the ending .csv, .ndjson or .jsonl, then by the first byte
    #[arg(long, value_enum, default_value_t = FormatArg::Auto)]
    format: FormatArg,
    /// Accept signed corrections (permission usage:correct)
    #[arg(long)]
    corrections: bool,
    /// Begin at the start, also when the file was imported before; what is stored already stays as it is
    #[arg(long)]
    again: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FormatArg {
    Auto,
    Csv,
    Ndjson,
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::Store(error) => error.into(),
            ImportError::Stopped(_) => Self::new(70, error.to_string()),
            ImportError::Read { .. } | ImportError::Header { .. } | ImportError::TooLarge { .. } => {
                Self::new(2, error.to_string())
            }
        }
    }
}

pub(super) async fn run(args: ImportArgs, mut loaded: Loaded) -> Result<ExitCode, Failure> {
    if std::env::var_os("RUST_LOG").is_none() && loaded.config.log.filter == "info" {
        // On a terminal the bar says when the database is away.
        let filter = if std::io::stderr().is_terminal() { "error" } else { "warn" };
        loaded.config.log.filter = filter.into();
    }
    telemetry::init(&loaded.config.log);
    log_panics();
    let format = match args.format {
        FormatArg::Auto => None,
        FormatArg::Csv => Some(Format::Csv),
        FormatArg::Ndjson => Some(Format::Ndjson),
    };
    // First: a file that cannot be used is found before a database is started for nothing.
    let file = match &args.mapping {
        None => UsageFile::open(&args.file, format).await?,
        Some(name) => {
            let mapping = loaded
                .config
                .file_mapping(name)
                .ok_or_else(|| Failure::new(2, format!("the configuration has no [[mapping]] `{name}`")))?;
            UsageFile::open_mapped(&args.file, Arc::new(mapping)).await?
        }
    };
    let database = Database::open(&loaded.config, Owner::Command).await?;
    let result = on(args, file, &database.store, &loaded).await;
    database.close().await;
    result
}

async fn on(args: ImportArgs, file: UsageFile, store: &Store, loaded: &Loaded) -> Result<ExitCode, Failure> {
    store.migrate().await.map_err(StartError::from)?;
    store.ensure_partitions(Clock::System.now(), loaded.config.ingest.max_age_days.into()).await?;
    let tenant = store.tenant_by_name(&args.tenant).await?;
    let tenant = tenant.ok_or_else(|| Failure::new(1, format!("there is no tenant `{}`", args.tenant)))?;
    let request = ImportRequest { tenant, may_correct: args.corrections, again: args.again };
    let (name, size) = (file.name().to_owned(), file.size());
    match file.import(request, store).await? {
        Opened::Finished { at, counts } => {
            println!(
                "{name}: imported before, on {} UTC, with {} records stored and {} parked; nothing was changed",
                at.format("%F %T"),
                counts.stored,
                counts.parked
            );
            println!("to read it again, for example after the file was mended: --again");
            Ok(ExitCode::SUCCESS)
        }
        Opened::Ready(import) => follow(*import, name, size, store, loaded).await,
    }
}

/// Runs the import until its end or the first signal.
async fn follow(
    import: Import,
    name: String,
    size: Option<u64>,
    store: &Store,
    loaded: &Loaded,
) -> Result<ExitCode, Failure> {
    let mut signals = Signals::new().map_err(|e| Failure::new(69, format!("cannot handle signals: {e}")))?;
    if let Some(line) = import.resumes_at() {
        eprintln!("{name}: going on at line {line}, where an earlier import was interrupted");
    }
    let stop = CancellationToken::new();
    let options = RunOptions {
        store: store.clone(),
        pipeline: loaded.config.ingest.pipeline_options(),
        metrics: Arc::default(),
        database: DatabaseState::default(),
        clock: Clock::System,
        stop: stop.clone(),
        grace: Duration::from_millis(loaded.config.shutdown.grace_ms),
    };
    let before = import.before();
    let started = Instant::now();
    let mut progress = Progress::new(None, "records");
    let mut shown = 0;
    let mut running = Box::pin(import.run(options, |now| {
        let (bytes, records) =
            (now.committed.bytes - before.bytes, records(&now.committed) - records(&before));
        if let Some(size) = size
            && bytes > 0
        {
            let whole = u128::from(records) * u128::from(size - before.bytes) / u128::from(bytes);
            progress.expect(u64::try_from(whole).unwrap_or(u64::MAX));
        }
        progress.note(if now.database_works { "" } else { "the database is away; waiting" });
        progress.advance(records - shown);
        shown = records;
    }));
    let ended = tokio::select! {
        ended = &mut running => ended,
        () = signals.next() => {
            stop.cancel();
            exit_on_next_signal(signals);
            running.as_mut().await
        }
    };
    drop(running);
    progress.finish();
    let report = ended?;
    summarise(&name, &before, &report, started.elapsed());
    Ok(match report {
        Report { finished: false, .. } => INTERRUPTED.into(),
        Report { committed: Committed { parked: 0, .. }, .. } => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

fn records(committed: &Committed) -> u64 {
    committed.stored + committed.duplicate + committed.parked
}

fn summarise(name: &str, before: &Committed, report: &Report, took: Duration) {
    let now = report.committed;
    let (all, seconds) = (records(&now) - records(before), took.as_secs_f64());
    println!(
        "{name}: {all} records read, {} stored, {} duplicates, {} parked; {seconds:.1} s, {:.0} records/s",
        now.stored - before.stored,
        now.duplicate - before.duplicate,
        now.parked - before.parked,
        all as f64 / seconds.max(0.001)
    );
    if before.bytes > 0 {
        println!(
            "with earlier imports of it: {} records, {} stored, {} duplicates, {} parked",
            records(&now),
            now.stored,
            now.duplicate,
            now.parked
        );
    }
    if now.parked > 0 {
        println!("what is parked and why: simbridge quarantine list");
    }
    match report {
        Report { finished: true, .. } => {}
        Report { saved: true, .. } => {
            println!("interrupted after line {}: run the same command to go on from there", now.lines)
        }
        _ => println!(
            "interrupted, and how far it came could not be saved: import it again, what is stored already is recognised"
        ),
    }
}
