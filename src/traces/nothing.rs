//! What stands in the place of traces in a program that was built without them.

use std::borrow::Cow;

use chrono::{DateTime, Utc};

use super::{Kind, Note, TraceOptions, TracesError};

/// Traces, which are off.
#[derive(Clone, Debug, Default)]
pub struct Traces(());

impl Traces {
    /// Does nothing: a configuration that wants traces was refused before.
    ///
    /// # Errors
    /// None.
    pub fn start(_: Option<&TraceOptions>) -> Result<Self, TracesError> {
        Ok(Self(()))
    }

    pub(crate) fn are_on(&self) -> bool {
        false
    }

    pub(crate) fn begin(&self, _: impl Into<Cow<'static, str>>, _: Kind) -> Span {
        Span(())
    }

    pub(crate) fn batch(&self, _: DateTime<Utc>, _: impl Iterator<Item = Origin>) -> Span {
        Span(())
    }

    pub(crate) async fn end(&self) {}
}

/// A span that is not there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Span(());

impl Span {
    pub(crate) fn is_recorded(&self) -> bool {
        false
    }

    pub(crate) fn note(&self, _: &'static str, _: impl Into<Note>) {}

    pub(crate) fn fail(&self, _: impl Into<Cow<'static, str>>) {}

    pub(crate) fn past(&self, _: &'static str, _: DateTime<Utc>, _: DateTime<Utc>) {}

    pub(crate) fn around<F: Future>(&self, future: F) -> F {
        future
    }

    pub(crate) fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        work()
    }

    pub(crate) fn end(self) {}
}

pub(crate) fn step(_: impl Into<Cow<'static, str>>, _: Kind) -> Span {
    Span(())
}

/// Where a message came from, of which nothing is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin(());

impl Origin {
    pub(crate) fn here() -> Self {
        Self(())
    }
}
