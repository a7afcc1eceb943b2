use std::process::ExitCode;

/// That of the C library keeps what a storm of clients needed at its peak (ADR 0022).
#[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    simbridge::cli::run()
}
