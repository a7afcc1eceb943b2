use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;
use super::failure::Failure;

const NAME: &str = "simbridge";

#[derive(Args, Debug)]
pub(super) struct CompletionsArgs {
    /// The shell that reads them
    shell: Shell,
}

#[derive(Args, Debug)]
pub(super) struct ManArgs {
    /// Write a page for each command into this directory instead, simbridge.1, simbridge-backup.1 and so on
    #[arg(long)]
    dir: Option<PathBuf>,
}

pub(super) fn completions(args: &CompletionsArgs) -> Result<ExitCode, Failure> {
    // Not straight to standard output, because the generator panics when nobody reads.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), NAME, &mut script);
    print(&script)
}

pub(super) fn man(args: ManArgs) -> Result<ExitCode, Failure> {
    let Some(dir) = args.dir else {
        let mut page = Vec::new();
        // `help` has no page of its own.
        let command = Cli::command().disable_help_subcommand(true);
        clap_mangen::Man::new(command).render(&mut page).map_err(|fault| cannot("make the page", &fault))?;
        return print(&page);
    };
    clap_mangen::generate_to(Cli::command(), &dir).map_err(|fault| {
        let what = format!("write pages into {}", dir.display());
        Failure::new(2, cannot(&what, &fault).to_string())
    })?;
    Ok(ExitCode::SUCCESS)
}

fn print(text: &[u8]) -> Result<ExitCode, Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text).and_then(|()| stdout.flush()).map_err(|fault| cannot("print", &fault))?;
    Ok(ExitCode::SUCCESS)
}

fn cannot(what: &str, fault: &io::Error) -> Failure {
    Failure::new(69, format!("cannot {what}: {fault}"))
}
