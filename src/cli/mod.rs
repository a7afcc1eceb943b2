//! The command line.

mod accounts;
mod amounts;
mod archive;
mod backup;
mod certs;
mod check;
mod demo;
mod devices;
mod failure;
mod health;
mod import;
mod invoices;
mod keys;
mod migrate;
mod panel;
mod password;
mod pool_report;
mod pools;
mod progress;
mod quarantine;
mod reconcile;
mod reference;
mod roles;
mod rollup;
mod serve;
mod settings;
mod sim_move;
mod sim_report;
mod sim_sync;
mod sims;
mod status;
mod table;
mod tenants;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, Flags, Loaded};

use failure::Failure;

/// Receives SIM usage over MQTT, stores every record exactly once in PostgreSQL and keeps the totals.
#[derive(Debug, Parser)]
#[command(
    name = "simbridge",
    version,
    after_help = "Try it:\n  simbridge demo                      everything at once, with simulated SIMs\n  \
                  simbridge serve                     broker on 127.0.0.1:1883, a private PostgreSQL in ./data\n  \
                  DATABASE_URL=postgres://… simbridge serve   the same with a PostgreSQL of yours\n\n\
                  Exit codes: 0 fine, 1 a check found something, 2 wrong usage, 69 something needed is not available,\n\
                  70 a defect of simbridge, 78 wrong configuration."
)]
struct Cli {
    #[command(flatten)]
    options: GlobalOptions,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args, Debug)]
struct GlobalOptions {
    /// Configuration file (TOML); config/simbridge.toml shows every key
    #[arg(long, global = true, value_name = "FILE", env = "SIMBRIDGE_CONFIG")]
    config: Option<PathBuf>,
    /// Where the private PostgreSQL lives [default: ./data]
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Use this PostgreSQL instead of a private one (also: DATABASE_URL)
    #[arg(long, global = true, value_name = "URL")]
    database_url: Option<String>,
    /// Address and port of the MQTT broker [default: 127.0.0.1:1883]
    #[arg(long, global = true, value_name = "ADDR")]
    mqtt_addr: Option<String>,
    /// Address and port of HTTP [default: 127.0.0.1:8080]
    #[arg(long, global = true, value_name = "ADDR")]
    http_addr: Option<String>,
    /// Log events as text or json [default: text on a terminal, else json]
    #[arg(long, global = true, value_name = "FORMAT", value_parser = ["auto", "text", "json"])]
    log_format: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the bridge until SIGTERM or Ctrl-C; then what was received is committed and acknowledged before it ends
    Serve,
    /// Run everything at once: private database, broker and a simulated fleet; ends with a proof of every total
    Demo(demo::DemoArgs),
    /// Check the configuration and print it, each value with where it came from, passwords hidden
    Check,
    /// Ask the simbridge that runs on this configuration whether it is ready; exit code 0 when it is (for containers)
    Health,
    /// Ask the simbridge that runs on this configuration how it stands: brokers, queue, rollups; exit code 1 when something
    /// is not well
    Status,
    /// Bring the database's schema up to date and stop (serve does this too)
    Migrate,
    /// Add what waits to hours, days and months now (serve does it by itself within seconds)
    Rollup,
    /// Make hours, days and months anew from the records, while batches go on
    Rebuild(rollup::RebuildArgs),
    /// Prove every total against the records, in one snapshot; exit code 1 when something does not add up
    Reconcile,
    /// Back up the database into a new directory, while serve runs
    ///
    /// DIR must not exist. It gets the dump of one moment (database.dump, pg_dump's custom format) and what was in it
    /// (manifest.json), and its name only when all of it was read back and agreed. It holds secrets: keep it as well as the
    /// database itself.
    Backup(backup::BackupArgs),
    /// Restore a backup into an empty database, which --data-dir or DATABASE_URL names
    ///
    /// Nothing is overwritten, and what is restored is counted and compared. End the simbridge that the backup is of first:
    /// what it stores after the backup is not in here.
    Restore(backup::RestoreArgs),
    /// Old months of records, in Parquet files of their own
    #[command(subcommand)]
    Archive(archive::ArchiveCommand),
    /// Store usage history from a CSV or NDJSON file, each record exactly once, however often it is imported or interrupted
    ///
    /// CSV has a header with recordId, iccid, periodStart, periodEnd, at least one of totalBytes, dataUploadBytes,
    /// dataDownloadBytes, smsCount, voiceSeconds, and maybe source, mccmnc, corrects (record_id is understood too). NDJSON
    /// has one record a line, as devices send it. A row at fault is parked with its line; the others are stored.
    Import(import::ImportArgs),
    /// SIM inventory
    #[command(subcommand, visible_alias = "sim")]
    Sims(sims::SimsCommand),
    /// SIMs that share a limit
    #[command(subcommand, visible_alias = "pool")]
    Pools(pools::PoolsCommand),
    /// Records that were parked because they could not be stored
    #[command(subcommand)]
    Quarantine(quarantine::QuarantineCommand),
    /// SIMs for which accounts of VPNs, panels and RADIUS stand, where the account is no number of the SIM
    #[command(subcommand)]
    Accounts(accounts::AccountsCommand),
    /// Remote panels whose usage figures are read
    #[command(subcommand)]
    Panel(panel::PanelCommand),
    /// Users that may connect to the broker
    #[command(subcommand)]
    Devices(devices::DevicesCommand),
    /// Certificates to try MQTT over TLS with
    #[command(subcommand)]
    Certs(certs::CertsCommand),
    /// Keys of the HTTP API, which are passwords of the broker too
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Roles and logins of the database itself, so that serve needs neither its owner's rights nor a superuser's
    #[command(subcommand)]
    Roles(roles::RolesCommand),
    /// Those who own SIMs
    #[command(subcommand)]
    Tenants(tenants::TenantsCommand),
    /// Invoices of closed months
    #[command(subcommand, visible_alias = "invoice")]
    Invoices(invoices::InvoicesCommand),
    /// Settings that count for all instances and take effect without a restart
    #[command(subcommand)]
    Settings(settings::SettingsCommand),
    /// Print what a shell needs to complete command lines, for example: source <(simbridge completions bash)
    Completions(reference::CompletionsArgs),
    /// Print the manual page, or write one for each command
    Man(reference::ManArgs),
}

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    // clap prints help and usage errors itself and ends with 0 or 2.
    let cli = Cli::parse();
    let outcome = load(cli.options).and_then(|loaded| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|cause| Failure::new(69, format!("cannot start threads: {cause}")))?;
        let outcome = runtime.block_on(dispatch(cli.command, loaded));
        // Without waiting for a read of standard input that nobody answers; everything else was joined.
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("simbridge: {failure}");
            failure.into()
        }
    }
}

fn load(options: GlobalOptions) -> Result<Loaded, Failure> {
    let flags = Flags {
        config: options.config,
        data_dir: options.data_dir,
        database_url: options.database_url,
        mqtt_addr: options.mqtt_addr,
        http_addr: options.http_addr,
        log_format: options.log_format,
    };
    let env: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    Ok(config::load(&flags, &env)?)
}

async fn dispatch(command: Command, loaded: Loaded) -> Result<ExitCode, Failure> {
    match command {
        Command::Serve => Box::pin(serve::run(loaded)).await,
        Command::Demo(args) => Box::pin(demo::run(args, loaded)).await,
        Command::Check => check::run(&loaded),
        Command::Health => health::run(&loaded).await,
        Command::Status => status::run(&loaded).await,
        Command::Migrate => migrate::run(&loaded).await,
        Command::Rollup => rollup::run(&loaded).await,
        Command::Rebuild(args) => rollup::run_rebuild(args, &loaded).await,
        Command::Reconcile => reconcile::run(&loaded).await,
        Command::Backup(args) => backup::run(args, &loaded).await,
        Command::Restore(args) => backup::run_restore(args, &loaded).await,
        Command::Archive(command) => archive::run(command, &loaded).await,
        Command::Import(args) => import::run(args, loaded).await,
        Command::Sims(command) => sims::run(command, &loaded).await,
        Command::Pools(command) => pools::run(command, &loaded).await,
        Command::Quarantine(command) => quarantine::run(command, &loaded).await,
        Command::Accounts(command) => accounts::run(command, &loaded).await,
        Command::Panel(command) => panel::run(command, &loaded).await,
        Command::Devices(command) => devices::run(command, &loaded).await,
        Command::Certs(command) => certs::run(command),
        Command::Keys(command) => keys::run(command, &loaded).await,
        Command::Roles(command) => roles::run(command, &loaded).await,
        Command::Tenants(command) => tenants::run(command, &loaded).await,
        Command::Invoices(command) => invoices::run(command, &loaded).await,
        Command::Settings(command) => settings::run(command, &loaded).await,
        Command::Completions(args) => reference::completions(&args),
        Command::Man(args) => reference::man(args),
    }
}
