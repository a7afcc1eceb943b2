use std::process::ExitCode;

/// That of the C library keeps what a storm of clients needed at its peak (ADR 0022).
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    simbridge::cli::run()
}
