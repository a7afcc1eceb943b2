use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use chrono::{DateTime, Months, NaiveDate, NaiveTime, Utc};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::app::{Database, Owner, StartError};
use crate::config::{Config, Loaded};
use crate::domain::{Clock, Setting};
use crate::shutdown::Signals;
use crate::store::Store;
use crate::store::archive::{Archive, ArchiveError, ArchiveState, Stored, Written, check_file};

use super::failure::Failure;
use super::table;

#[derive(Debug, Subcommand)]
pub(super) enum ArchiveCommand {
    /// Write old months of records into files, read them back, and drop them from the database
    ///
    /// One Parquet file for each UTC month, oldest first. A month that was begun and interrupted is finished first.
    Create(CreateArgs),
    /// List archived months and where their files are
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Read files again, all of each, and compare them with what was written; exit code 1 when one is not what it was
    Verify(VerifyArgs),
    /// Put archived months back into usage_records, newest first
    Restore(RestoreArgs),
}

#[derive(Args, Debug)]
pub(super) struct CreateArgs {
    /// Up to this UTC month, inclusive [default: what retention.raw_days gives up]
    #[arg(long, value_name = "YYYY-MM", value_parser = month)]
    through: Option<NaiveDate>,
    /// Only write the file of this month: its records stay where they are, and `list` does not know of it
    #[arg(long, value_name = "YYYY-MM", value_parser = month, conflicts_with = "through")]
    copy: Option<NaiveDate>,
    /// Directory of the files [default: archive.directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(super) struct VerifyArgs {
    /// Only this month [default: all]
    #[arg(long, value_name = "YYYY-MM", value_parser = month)]
    month: Option<NaiveDate>,
    /// Directory in which the files are now [default: where they were written]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Files to compare with what they say of themselves; no database is asked
    #[arg(value_name = "FILE", conflicts_with_all = ["month", "dir"])]
    files: Vec<PathBuf>,
}

#[derive(Args, Debug)]
pub(super) struct RestoreArgs {
    /// This UTC month, and every later one that is archived
    #[arg(long, value_name = "YYYY-MM", value_parser = month)]
    from: NaiveDate,
    /// Directory in which the files are now [default: where they were written]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

fn month(text: &str) -> Result<NaiveDate, String> {
    let day = text.len() == "2026-01".len();
    let first = day.then(|| format!("{text}-01").parse().ok()).flatten();
    first.ok_or_else(|| "a month is written as 2026-01".to_owned())
}

impl From<ArchiveError> for Failure {
    fn from(error: ArchiveError) -> Self {
        use ArchiveError as E;
        let code = match error {
            E::Store(error) if error.code() == Some("42501") => {
                return Self::new(
                    78,
                    format!("archives are made and restored as the owner of the tables: {error}"),
                );
            }
            E::Store(error) => return error.into(),
            E::Migration(error) => return StartError::from(error).into(),
            E::Damaged { .. } | E::RestoredDiffers(_) | E::Refused(_) => 1,
            E::NoMonth(_) | E::NotArchived(_) => 1,
            E::Exists(_) => 2,
            E::Io { ref source, .. } if is_a_wrong_place(source) => 2,
            E::Busy | E::InUse | E::NotRolledUp => 69,
            E::Io { .. } | E::Parquet { .. } | E::ReadBackDiffers(_) => 69,
            E::Protocol(_) => 70,
            E::UnknownType { .. } | E::ColumnMissing(_) | E::ColumnUnknown(_) | E::WouldBeDropped { .. } => {
                78
            }
        };
        Self::new(code, error.to_string())
    }
}

/// Another argument helps, and waiting does not.
fn is_a_wrong_place(source: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem};
    matches!(source.kind(), NotADirectory | NotFound | PermissionDenied | ReadOnlyFilesystem)
}

pub(super) async fn run(command: ArchiveCommand, loaded: &Loaded) -> Result<ExitCode, Failure> {
    if let ArchiveCommand::Verify(VerifyArgs { files, .. }) = &command
        && !files.is_empty()
    {
        return verify_files(files).await;
    }
    let database = Database::open(&loaded.config, Owner::Command).await?;
    let mut signals = Signals::new().map_err(|e| Failure::new(69, format!("cannot handle signals: {e}")))?;
    let done = tokio::select! {
        done = Box::pin(on(command, &loaded.config, &database.store)) => done,
        () = signals.next() => Err(Failure::new(130, "interrupted: no record is lost, the same command goes on")),
    };
    database.close().await;
    done
}

async fn on(command: ArchiveCommand, config: &Config, store: &Store) -> Result<ExitCode, Failure> {
    store.migrate().await.map_err(StartError::from)?;
    let now = Clock::System.now();
    match command {
        ArchiveCommand::Create(args) => create(&args, config, store, now).await?,
        ArchiveCommand::List { json } => list(&store.archives().await?, json),
        ArchiveCommand::Verify(args) => return verify(&args, store).await,
        ArchiveCommand::Restore(args) => restore(&args, store, now).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn create(
    args: &CreateArgs,
    config: &Config,
    store: &Store,
    now: DateTime<Utc>,
) -> Result<(), Failure> {
    let configured = &config.archive.directory;
    let configured = (!configured.as_os_str().is_empty()).then_some(configured);
    let Some(directory) = args.dir.as_ref().or(configured) else {
        return Err(Failure::new(2, "name a directory with --dir, or in archive.directory"));
    };
    if let Some(month) = args.copy {
        println!(
            "{}; its records are where they were",
            described(&store.copy_month(month, directory).await?)
        );
        return Ok(());
    }
    let before = match args.through {
        Some(month) => (month + Months::new(1)).and_time(NaiveTime::MIN).and_utc(),
        None => match store.setting(Setting::RawRetention).await? {
            0 => {
                return Err(Failure::new(
                    2,
                    "retention.raw_days gives nothing up: name a month with --through",
                ));
            }
            days => {
                if store.setting(Setting::ArchiveFirst).await? == 0 {
                    eprintln!(
                        "retention.archive_first is 0: serve may drop a month before it is archived; set it to 1 to keep serve from that"
                    );
                }
                store.raw_floor_due(now, i32::try_from(days).unwrap_or(i32::MAX)).await?
            }
        },
    };
    let mut months = 0;
    while let Some(written) = store.archive_next(before, directory, now).await? {
        println!("{}; read back, it agrees with the database, which has dropped it", described(&written));
        months += 1;
    }
    if months == 0 {
        println!("there are no records from before {} to archive", before.format("%F"));
    }
    Ok(())
}

fn described(written: &Written) -> String {
    let Written { month, file, bytes, manifest } = written;
    let figures = &manifest.figures;
    let (records, total) = (figures.records, &figures.total_bytes);
    format!(
        "{}: {records} records, {total} bytes, in {} ({bytes} bytes)",
        month.format("%Y-%m"),
        file.display()
    )
}

fn list(archives: &[Archive], as_json: bool) {
    if as_json {
        let all: Vec<Value> = archives.iter().map(document).collect();
        println!("{}", serde_json::to_string_pretty(&all).expect("text and numbers are valid JSON"));
        return;
    }
    let rows = archives.iter().map(|archive| {
        let of =
            |text: &dyn Fn(&Stored) -> String| archive.stored.as_ref().map_or_else(|| "-".to_owned(), text);
        vec![
            archive.month.format("%Y-%m").to_string(),
            archive.state.as_str().to_owned(),
            of(&|s| s.manifest.figures.records.to_string()),
            of(&|s| s.manifest.figures.total_bytes.clone()),
            of(&|s| s.archived_at.format("%F %T").to_string()),
            of(&|s| s.bytes.to_string()),
            of(&|s| s.file.display().to_string()),
        ]
    });
    table::print(
        &["MONTH", "STATE", "RECORDS", "BYTES", "ARCHIVED", "FILE BYTES", "FILE"],
        &rows.collect::<Vec<_>>(),
    );
}

fn document(archive: &Archive) -> Value {
    let stored = archive.stored.as_ref();
    json!({
        "archive": archive.id,
        "month": archive.month.format("%Y-%m").to_string(),
        "state": archive.state.as_str(),
        "takenOutAt": archive.taken_out_at,
        "archivedAt": stored.map(|s| s.archived_at),
        "restoredAt": archive.restored_at,
        "file": stored.map(|s| s.file.display().to_string()),
        "fileBytes": stored.map(|s| s.bytes),
        "fileSha256": stored.map(|s| &s.sha256),
        "manifest": stored.map(|s| &s.manifest),
    })
}

async fn verify(args: &VerifyArgs, store: &Store) -> Result<ExitCode, Failure> {
    let mut archives = store.archives().await?;
    archives.retain(|archive| match args.month {
        Some(month) => archive.month == month,
        None => archive.state != ArchiveState::Restored,
    });
    // Of a month that was restored and archived again, what counts.
    if archives.iter().any(|archive| archive.state != ArchiveState::Restored) {
        archives.retain(|archive| archive.state != ArchiveState::Restored);
    }
    if let (true, Some(month)) = (archives.is_empty(), args.month) {
        return Err(ArchiveError::NotArchived(month).into());
    }
    let mut findings = 0;
    for archive in &archives {
        let month = archive.month.format("%Y-%m");
        let (Some(stored), Some(path)) = (&archive.stored, archive.file_in(args.dir.as_deref())) else {
            println!("{month}: pending, its records are in the database");
            continue;
        };
        match stored.check(&path).await {
            Ok(()) => {
                let figures = &stored.manifest.figures;
                println!("{month}: {} records, {} bytes, as archived", figures.records, figures.total_bytes);
            }
            Err(finding) => {
                findings += 1;
                println!("{month}: {finding}");
            }
        }
    }
    if archives.is_empty() {
        println!("nothing is archived");
    }
    Ok(verdict(findings))
}

async fn verify_files(files: &[PathBuf]) -> Result<ExitCode, Failure> {
    let mut findings = 0;
    for file in files {
        match check_file(file).await {
            Ok(manifest) => {
                let (month, figures) = (manifest.from.format("%Y-%m"), &manifest.figures);
                println!(
                    "{}: {month}, {} records, {} bytes, as it says of itself",
                    file.display(),
                    figures.records,
                    figures.total_bytes
                );
            }
            Err(finding) => {
                findings += 1;
                println!("{finding}");
            }
        }
    }
    Ok(verdict(findings))
}

fn verdict(findings: u32) -> ExitCode {
    ExitCode::from(u8::from(findings > 0))
}

async fn restore(args: &RestoreArgs, store: &Store, now: DateTime<Utc>) -> Result<(), Failure> {
    let archives = store.archives_since(args.from).await?;
    let raw_days = store.setting(Setting::RawRetention).await?;
    if raw_days > 0 {
        let due = store.raw_floor_due(now, i32::try_from(raw_days).unwrap_or(i32::MAX)).await?;
        if args.from.and_time(NaiveTime::MIN).and_utc() < due {
            return Err(ArchiveError::WouldBeDropped { month: args.from, raw_days }.into());
        }
    }
    for archive in archives {
        let returned = store.restore_month(&archive, args.dir.as_deref(), now).await?;
        let month = archive.month.format("%Y-%m");
        match &archive.stored {
            Some(stored) => {
                let figures = &stored.manifest.figures;
                println!("{month}: {} records, {} bytes are back", figures.records, figures.total_bytes);
            }
            None => println!("{month}: back, it was in no file yet"),
        }
        if returned.stamped > 0 {
            println!("{month}: {} records follow SIMs that were changed meanwhile", returned.stamped);
        }
        if returned.remembered > 0 {
            println!("{month}: {} keys that had been forgotten were made anew", returned.remembered);
        }
    }
    println!("prove it with `simbridge reconcile`");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_written_as_such() {
        assert_eq!(month("2026-01"), Ok(NaiveDate::from_ymd_opt(2026, 1, 1).unwrap()));
        for other in ["2026", "2026-1", "2026-13", "2026-01-01", "26-01", "", "2026/01"] {
            assert!(month(other).is_err(), "{other}");
        }
    }
}
