use std::process::ExitCode;

fn main() -> ExitCode {
    simbridge::cli::run()
}
