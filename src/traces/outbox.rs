//! Spans on their way out: bounded, and whoever ends a span never waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use tokio::sync::mpsc;

/// The sending side.
#[derive(Debug)]
pub(super) struct Outbox {
    spans: mpsc::Sender<SpanData>,
    lost: Lost,
}

/// The other side.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) spans: mpsc::Receiver<SpanData>,
    pub(super) lost: Lost,
}

/// Spans that nobody will see although they were recorded, since it was last told.
#[derive(Clone, Debug, Default)]
pub(super) struct Lost(Arc<AtomicU64>);

impl Lost {
    pub(super) fn add(&self, spans: usize) {
        self.0.fetch_add(spans as u64, Ordering::Relaxed);
    }

    pub(super) fn take(&self) -> u64 {
        self.0.swap(0, Ordering::Relaxed)
    }
}

impl Outbox {
    pub(super) fn new(max_spans: usize) -> (Self, Waiting) {
        let (sender, receiver) = mpsc::channel(max_spans);
        let lost = Lost::default();
        (Self { spans: sender, lost: lost.clone() }, Waiting { spans: receiver, lost })
    }
}

impl SpanProcessor for Outbox {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() && self.spans.try_send(span).is_err() {
            self.lost.add(1);
        }
    }

    /// Nothing is kept here: [`Traces::end`](super::Traces::end) sees to what waits.
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}
