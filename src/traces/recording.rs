//! Spans as OpenTelemetry has them. The one under way travels in its `Context`, which a future carries along; so does what makes spans.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use opentelemetry::context::{FutureExt, WithContext};
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{
    Link, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt, Tracer, TracerProvider,
};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::exporter::Exporter;
use super::outbox::Outbox;
use super::{Kind, Note, TraceOptions, TracesError};

/// Requests whose records stand in one batch and are named by it; more say nothing more.
const LINKS: usize = 16;

/// What makes spans, if anything does; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Traces(Option<Arc<Recorder>>);

#[derive(Debug)]
struct Recorder {
    tracer: SdkTracer,
    sending: Mutex<Option<JoinHandle<()>>>,
    stop: CancellationToken,
    flush: Duration,
}

impl Traces {
    /// Off without options. What is recorded is sent by a task of the runtime in which this is called.
    ///
    /// # Errors
    /// [`TracesError`] when an option cannot be used. Whether a collector is there is not looked at.
    pub fn start(options: Option<&TraceOptions>) -> Result<Self, TracesError> {
        let Some(options) = options else { return Ok(Self::default()) };
        let attributes =
            options.resource.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
        // Without the detectors of the environment: what counts of it is in the options.
        let resource = Resource::builder_empty()
            .with_detector(Box::new(TelemetryResourceDetector))
            .with_attributes(attributes)
            .build();
        let stop = CancellationToken::new();
        let (outbox, waiting) = Outbox::new(options.queue_max_spans);
        let exporter = Exporter::new(options, &resource, waiting, stop.clone())?;
        let tracer = tracer(options.sample_ratio, resource, outbox);
        let sending = Mutex::new(Some(tokio::spawn(exporter.run())));
        Ok(Self(Some(Arc::new(Recorder { tracer, sending, stop, flush: options.flush }))))
    }

    pub(crate) fn are_on(&self) -> bool {
        self.0.is_some()
    }

    /// A span below the one under way, or else one that begins a trace.
    pub(crate) fn begin(&self, name: impl Into<Cow<'static, str>>, kind: Kind) -> Span {
        self.open(SpanBuilder::from_name(name).with_kind(kind.into()), &Context::current())
    }

    /// The span of a batch of which the first message was received at `since`. It goes on with the trace of a request that alone among
    /// the batch's messages belongs to one, and names those of several.
    pub(crate) fn batch(&self, since: DateTime<Utc>, origins: impl Iterator<Item = Origin>) -> Span {
        if self.0.is_none() {
            return Span::default();
        }
        let mut requests: Vec<SpanContext> = Vec::new();
        for request in origins.filter_map(|origin| origin.0) {
            // All messages of a request come one after the other.
            if requests.last() != Some(&request) {
                requests.push(request);
            }
            if requests.len() == LINKS {
                break;
            }
        }
        let mut span = SpanBuilder::from_name("process usage")
            .with_kind(SpanKind::Consumer)
            .with_start_time(SystemTime::from(since));
        let mut parent = Context::new();
        if let [request] = &requests[..] {
            parent = parent.with_remote_span_context(request.clone());
        } else {
            span = span.with_links(requests.into_iter().map(Link::with_context).collect());
        }
        self.open(span, &parent)
    }

    /// The span of a request, in the trace that it says it belongs to.
    pub(crate) fn request(&self, name: impl Into<Cow<'static, str>>, incoming: Incoming<'_>) -> Span {
        let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &incoming);
        self.open(SpanBuilder::from_name(name).with_kind(SpanKind::Server), &parent)
    }

    fn open(&self, span: SpanBuilder, parent: &Context) -> Span {
        let Some(recorder) = &self.0 else { return Span::default() };
        let span = recorder.tracer.build_with_context(span, parent);
        Span(Some(parent.with_value(self.clone()).with_span(span)))
    }

    /// Sends what waits, for as long as the options allow. Spans that end later are lost.
    pub(crate) async fn end(&self) {
        let Some(recorder) = &self.0 else { return };
        let sending = recorder.sending.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut sending) = sending else { return };
        recorder.stop.cancel();
        if tokio::time::timeout(recorder.flush, &mut sending).await.is_err() {
            sending.abort();
            warn!("the last spans were not sent in time");
        }
    }
}

fn tracer(sample_ratio: f64, resource: Resource, outbox: Outbox) -> SdkTracer {
    let provider = SdkTracerProvider::builder()
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(sample_ratio))))
        .with_resource(resource)
        .with_span_processor(outbox);
    provider.build().tracer("simbridge")
}

/// A span under way, if it is recorded or at least known. It ends when nobody holds it any more.
#[derive(Clone, Debug, Default)]
pub(crate) struct Span(Option<Context>);

impl Span {
    /// Whether somebody will see it: what costs something to say need not be said otherwise.
    pub(crate) fn is_recorded(&self) -> bool {
        self.0.as_ref().is_some_and(|context| context.span().span_context().is_sampled())
    }

    pub(crate) fn note(&self, key: &'static str, note: impl Into<Note>) {
        if let Some(context) = &self.0 {
            context.span().set_attribute(KeyValue::new(key, Value::from(note.into())));
        }
    }

    /// What the span is of failed; `kind` is a code or a word, nothing that came from outside.
    pub(crate) fn fail(&self, kind: impl Into<Cow<'static, str>>) {
        if let Some(context) = &self.0 {
            let kind: Cow<'static, str> = kind.into();
            context.span().set_attribute(KeyValue::new("error.type", kind));
            context.span().set_status(Status::error(""));
        }
    }

    /// A step below it that is over already.
    pub(crate) fn past(&self, name: &'static str, since: DateTime<Utc>, until: DateTime<Utc>) {
        let Some(context) = self.0.as_ref().filter(|_| self.is_recorded()) else { return };
        let Some(traces) = context.get::<Traces>() else { return };
        let span = SpanBuilder::from_name(name).with_start_time(SystemTime::from(since));
        if let Span(Some(step)) = traces.open(span, context) {
            step.span().end_with_timestamp(SystemTime::from(until));
        }
    }

    /// The future, during which this span is the one under way.
    pub(crate) fn around<F: Future>(&self, future: F) -> WithContext<F> {
        future.with_context(self.0.clone().unwrap_or_default())
    }

    /// The same for what does not wait.
    pub(crate) fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        let _under_way = self.0.clone().unwrap_or_default().attach();
        work()
    }

    /// Now, although somebody may hold it still.
    pub(crate) fn end(self) {
        if let Some(context) = &self.0 {
            context.span().end();
        }
    }
}

/// A step of what is under way; nothing when nothing is, or nobody will see it.
pub(crate) fn step(name: impl Into<Cow<'static, str>>, kind: Kind) -> Span {
    let context = Context::current();
    if !context.span().span_context().is_sampled() {
        return Span::default();
    }
    let span = SpanBuilder::from_name(name).with_kind(kind.into());
    context.get::<Traces>().map_or_else(Span::default, |traces| traces.open(span, &context))
}

/// The request that a message came with, when that is recorded.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Origin(Option<SpanContext>);

impl Origin {
    /// What is under way where this is called.
    pub(crate) fn here() -> Self {
        Self(Context::map_current(|context| {
            Some(context.span().span_context()).filter(|span| span.is_sampled()).cloned()
        }))
    }
}

impl From<Kind> for SpanKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Internal => Self::Internal,
            Kind::Client => Self::Client,
        }
    }
}

impl From<Note> for Value {
    fn from(note: Note) -> Self {
        match note {
            Note::Number(number) => Self::I64(number),
            Note::Text(text) => Self::from(text),
            Note::Flag(flag) => Self::Bool(flag),
        }
    }
}

/// Headers by which a request says which trace it belongs to (W3C Trace Context).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Incoming<'a> {
    pub(crate) traceparent: Option<&'a str>,
    pub(crate) tracestate: Option<&'a str>,
}

impl Extractor for Incoming<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            "traceparent" => self.traceparent,
            "tracestate" => self.tracestate,
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_sdk::trace::SpanData;

    use super::super::outbox::Waiting;
    use super::*;

    const ROOM: usize = 64;

    fn traces(sample_ratio: f64) -> (Traces, Waiting) {
        let (outbox, waiting) = Outbox::new(ROOM);
        let tracer = tracer(sample_ratio, Resource::builder_empty().build(), outbox);
        let recorder = Recorder {
            tracer,
            sending: Mutex::default(),
            stop: CancellationToken::new(),
            flush: Duration::ZERO,
        };
        (Traces(Some(Arc::new(recorder))), waiting)
    }

    /// A message that came with a request of its own, or of which the sender records nothing.
    fn origin(traces: &Traces, flags: &str) -> Origin {
        let traceparent = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
        let incoming = Incoming { traceparent: Some(&traceparent), tracestate: None };
        traces.request("POST", incoming).within(Origin::here)
    }

    fn batch(traces: &Traces, waiting: &mut Waiting, origins: Vec<Origin>) -> SpanData {
        traces.batch(DateTime::UNIX_EPOCH, origins.into_iter()).end();
        std::iter::from_fn(|| waiting.spans.try_recv().ok())
            .find(|span| span.name == "process usage")
            .expect("it is recorded")
    }

    /// Catches a batch that stands in the trace of one of its requests and is missing in those of the others.
    #[test]
    fn a_batch_goes_on_with_its_only_request_and_names_several() {
        let (traces, mut waiting) = traces(1.0);
        let [first, second] = [(); 2].map(|()| origin(&traces, "01"));
        let nobody = Origin::default;
        let span = batch(&traces, &mut waiting, vec![nobody(), first.clone(), first.clone(), nobody()]);
        let request = first.0.clone().expect("it is recorded");
        assert_eq!(
            (span.span_context.trace_id(), span.parent_span_id),
            (request.trace_id(), request.span_id())
        );
        assert_eq!(span.links.len(), 0);
        let span = batch(&traces, &mut waiting, vec![first, nobody(), second]);
        assert_eq!((span.parent_span_id, span.links.len()), (opentelemetry::SpanId::INVALID, 2));
        let many = (0..LINKS + 9).map(|_| origin(&traces, "01")).collect();
        assert_eq!(batch(&traces, &mut waiting, many).links.len(), LINKS);
        assert_eq!(origin(&traces, "00"), nobody(), "who sent it records nothing");
    }

    /// Catches steps of what nobody sees, which would begin traces of their own.
    #[test]
    fn nothing_below_a_span_that_is_not_recorded_is_recorded() {
        let (traces, mut waiting) = traces(0.0);
        let span = traces.begin("rollup", Kind::Internal);
        assert!(!span.is_recorded());
        span.within(|| assert!(!step("chunk", Kind::Client).is_recorded()));
        span.past("wait", DateTime::UNIX_EPOCH, DateTime::UNIX_EPOCH);
        span.end();
        assert!(waiting.spans.try_recv().is_err());
        assert!(!step("chunk", Kind::Client).is_recorded(), "nothing is under way");
    }

    /// Catches a span that waits for room, and one that is lost without a word.
    #[test]
    fn what_does_not_fit_is_counted() {
        let (traces, mut waiting) = traces(1.0);
        for _ in 0..ROOM + 6 {
            traces.begin("rollup", Kind::Internal).end();
        }
        assert_eq!((waiting.lost.take(), waiting.lost.take()), (6, 0));
        assert!(waiting.spans.try_recv().is_ok());
    }
}
