//! The binary: parses the command line and runs one command.

use std::process::ExitCode;

use clap::Parser;

mod cli;

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    match cli::Cli::parse().run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line with all causes; a backtrace would tell a user nothing.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
