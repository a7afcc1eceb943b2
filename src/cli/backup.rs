use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::app::{Database, Owner, StartError};
use crate::config::Loaded;
use crate::domain::Clock;
use crate::shutdown::Signals;
use crate::store::backup::{self, BackupError, Manifest, Restored};
use crate::store::embedded;

use super::failure::Failure;

#[derive(Args, Debug)]
pub(super) struct BackupArgs {
    /// New directory for the backup
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

#[derive(Args, Debug)]
pub(super) struct RestoreArgs {
    /// Directory that `simbridge backup` made
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        use BackupError as E;
        let code = match error {
            E::Store(error) if error.code() == Some("42501") => {
                let message = format!("a backup is made and restored as the owner of the tables: {error}");
                return Self::new(78, message);
            }
            E::Store(error) => return error.into(),
            E::Migration(error) => return StartError::from(error).into(),
            E::RestoredDiffers(_) => 1,
            E::Exists(_) | E::NotABackup { .. } | E::Damaged { .. } => 2,
            E::Io { ref source, .. } if is_a_wrong_place(source) => 2,
            E::NoPrograms { .. } | E::Program { .. } | E::Io { .. } | E::ReadBackDiffers(_) => 69,
            E::Newer { .. } | E::NoData | E::TargetNotEmpty { .. } | E::OlderServer { .. } => 78,
        };
        Self::new(code, error.to_string())
    }
}

/// Another argument helps, and waiting does not.
fn is_a_wrong_place(source: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem};
    matches!(source.kind(), NotADirectory | NotFound | PermissionDenied | ReadOnlyFilesystem)
}

pub(super) async fn run(args: BackupArgs, loaded: &Loaded) -> Result<ExitCode, Failure> {
    let config = &loaded.config;
    if config.database.url.is_empty() && !embedded::has_cluster(&config.data_dir) {
        let place = config.data_dir.display();
        return Err(Failure::new(
            78,
            format!("there is no database in {place}: name another place with --data-dir"),
        ));
    }
    let database = Database::open(config, Owner::Command).await?;
    let made = until_a_signal(
        "there is no backup",
        database.store.backup(&database.place, &args.directory, Clock::System.now()),
    )
    .await;
    database.close().await;
    let manifest = made??;
    println!("{}: {}", args.directory.display(), described(&manifest));
    println!("read back, and it agrees with the database");
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn run_restore(args: RestoreArgs, loaded: &Loaded) -> Result<ExitCode, Failure> {
    // First: a backup that cannot be used is found before a database is made for nothing.
    let manifest = backup::check(&args.directory).await?;
    let database = Database::open(&loaded.config, Owner::Command).await?;
    let done = until_a_signal(
        "the database is empty, or was not counted: make another one",
        database.store.restore(&database.place, &args.directory, manifest),
    )
    .await;
    database.close().await;
    let Restored { manifest, roles } = done??;
    println!("restored {}", described(&manifest));
    match roles {
        Some((prefix, Ok(()))) => {
            println!(
                "roles {prefix}_… have their rights; logins that are missing are made with `simbridge roles login`"
            );
        }
        Some((prefix, Err(problem))) => {
            let remedy =
                format!("run `simbridge roles create --prefix {prefix}` as a login that may make roles");
            return Err(Failure::new(
                78,
                format!("everything is restored but the database roles ({problem}): {remedy}"),
            ));
        }
        None => {}
    }
    println!("prove it with `simbridge reconcile`");
    Ok(ExitCode::SUCCESS)
}

/// At a signal the work is dropped, and with it the programs that it runs.
async fn until_a_signal<T>(left: &str, work: impl Future<Output = T>) -> Result<T, Failure> {
    let mut signals = Signals::new().map_err(|e| Failure::new(69, format!("cannot handle signals: {e}")))?;
    tokio::select! {
        done = Box::pin(work) => Ok(done),
        () = signals.next() => Err(Failure::new(130, format!("interrupted: {left}"))),
    }
}

fn described(manifest: &Manifest) -> String {
    let figures = &manifest.figures;
    format!(
        "{} records, {} bytes, {} SIMs, {} cycles, of {}, schema version {}, {} bytes of dump",
        figures.records,
        figures.total_bytes,
        figures.sims,
        figures.cycles,
        manifest.begun_at.format("%F %T UTC"),
        manifest.schema_version,
        manifest.dump_bytes
    )
}
