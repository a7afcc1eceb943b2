//! The way of batches, requests and duties as spans of OpenTelemetry (ADR 0031).
//!
//! Without the Cargo feature `opentelemetry` nothing here does anything, and nothing of it is left in the program.

#[cfg(feature = "opentelemetry")]
mod exporter;
#[cfg(not(feature = "opentelemetry"))]
mod nothing;
#[cfg(feature = "opentelemetry")]
mod outbox;
#[cfg(feature = "opentelemetry")]
mod recording;

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

#[cfg(not(feature = "opentelemetry"))]
use nothing as spans;
#[cfg(feature = "opentelemetry")]
use recording as spans;

#[cfg(feature = "opentelemetry")]
pub(crate) use spans::Incoming;
pub use spans::Traces;
pub(crate) use spans::{Origin, Span, step};

/// How traces are made and where they go.
#[derive(Clone, Debug)]
pub struct TraceOptions {
    /// Where a collector takes OTLP over HTTP, path included.
    pub url: String,
    /// Sent with each request.
    pub headers: Vec<(String, String)>,
    /// The authority of the collector's certificate, beside the machine's own; empty for none.
    pub ca_file: PathBuf,
    /// Share of the traces that begin here and are recorded.
    pub sample_ratio: f64,
    /// What sends them, as attributes of the resource.
    pub resource: Vec<(String, String)>,
    /// For how long one request may take.
    pub timeout: Duration,
    /// Spans that may wait to be sent.
    pub queue_max_spans: usize,
    /// For how long the end of the program waits until what waits is sent.
    pub flush: Duration,
}

/// Why no traces can be made.
#[derive(Debug, Error)]
pub enum TracesError {
    #[error("traces.{key}: {problem}")]
    Tls { key: &'static str, problem: String },
    #[error("traces.headers: `{0}` is no name or has no value of a header")]
    Header(String),
    #[error("traces cannot be sent: {0}")]
    Client(String),
}

/// Where what a span is of takes place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Internal,
    /// Asks another server.
    Client,
}

/// What is noted about a span: figures, names and codes, never contents (ADR 0025).
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "opentelemetry"), allow(dead_code, reason = "nobody reads it then"))]
pub(crate) enum Note {
    Number(i64),
    Text(Cow<'static, str>),
    Flag(bool),
}

impl From<i64> for Note {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for Note {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<u64> for Note {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<usize> for Note {
    fn from(number: usize) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<bool> for Note {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<&'static str> for Note {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Note {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}
