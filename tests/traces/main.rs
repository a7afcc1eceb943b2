//! Traces, with the real program and a collector on a real socket. Only with the feature `opentelemetry`.

#[allow(dead_code, reason = "the other tests need the rest of it")]
#[path = "../integration/harness/mod.rs"]
mod harness;

/// The same test as of the program without traces, which looks at the spans too here.
#[path = "../integration/secrets/mod.rs"]
mod secrets;

mod batches;
mod collectors;
mod duties;
mod logs;
mod requests;
