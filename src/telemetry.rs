//! Log events: text for people, JSON for collectors, always on standard error.

use std::io::IsTerminal;

use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::LogConfig;

/// rumqttd opens an error-level span for each packet, which halves throughput; what it has to say, the broker says itself.
/// The pool reports each lost connection; the writers report the outage, once.
const ALWAYS: &str = "rumqttd=off,deadpool.postgres=off";

/// Crates that write what they carry into their log below these levels: parameters of statements (hashes, secrets of webhooks), frames
/// and requests of WebSockets (passwords, tokens). No filter lets that through, also not one that names them.
const CARRIERS: [(&str, Level); 3] =
    [("tokio_postgres", Level::INFO), ("tungstenite", Level::INFO), ("async_tungstenite", Level::INFO)];

fn shows_no_contents(event: &Metadata<'_>) -> bool {
    let of = |name: &str| {
        event.target().strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    CARRIERS.iter().all(|(name, level)| event.level() <= level || !of(name))
}

/// Sets up logging for the process. A filter that cannot be read is replaced by `info`, and that is said.
pub fn init(config: &LogConfig) {
    let wanted = std::env::var("RUST_LOG").unwrap_or_else(|_| config.filter.clone());
    let (filter, problem) = match EnvFilter::try_new(format!("{wanted},{ALWAYS}")) {
        Ok(filter) => (filter, None),
        Err(problem) => (EnvFilter::new(format!("info,{ALWAYS}")), Some(problem)),
    };
    let json = match config.format.as_str() {
        "json" => true,
        "text" => false,
        _ => !std::io::stderr().is_terminal(),
    };
    let registry = tracing_subscriber::registry().with(filter).with(filter_fn(shows_no_contents));
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    // Only tests may have set a subscriber before; theirs stays.
    if json {
        registry.with(layer.json().flatten_event(true).with_current_span(false)).try_init().ok();
    } else {
        registry.with(layer.with_ansi(std::io::stderr().is_terminal()).with_target(false)).try_init().ok();
    }
    if let Some(problem) = problem {
        tracing::warn!(%problem, filter = wanted, "log filter cannot be read; using info");
    }
}
