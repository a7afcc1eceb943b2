//! Sends spans to a collector: OTLP over HTTP, protobuf. A collector that is away costs spans, and nothing else.

use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;
use prost::Message;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::outgoing::{TlsFiles, http_failure, tls_client};

use super::outbox::Waiting;
use super::{TraceOptions, TracesError};

/// Spans of one request at most.
const MAX_SPANS: usize = 512;
/// For so long a span waits for others at most.
const LINGER: Duration = Duration::from_secs(1);
/// Attempts to send the same spans; what ends meanwhile waits, as far as there is room.
const ATTEMPTS: u32 = 5;
/// Before the second attempt; doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The task that sends.
pub(super) struct Exporter {
    waiting: Waiting,
    resource: ResourceAttributesWithSchema,
    client: Client,
    url: String,
    stop: CancellationToken,
    /// The collector did not take the last spans.
    failing: bool,
    /// More spans came than there was room for.
    overflowing: bool,
}

/// Why a request was not taken.
struct Failure {
    error: String,
    /// Later it may be.
    passes: bool,
}

impl Exporter {
    pub(super) fn new(
        options: &TraceOptions,
        resource: &Resource,
        waiting: Waiting,
        stop: CancellationToken,
    ) -> Result<Self, TracesError> {
        let tls = tls_client(&TlsFiles { ca: options.ca_file.clone(), ..TlsFiles::default() })
            .map_err(|fault| TracesError::Tls { key: fault.key, problem: fault.problem })?;
        let client = Client::builder()
            .timeout(options.timeout)
            .redirect(Policy::none())
            .no_proxy()
            .default_headers(headers(options)?)
            .user_agent(concat!("simbridge/", env!("CARGO_PKG_VERSION")))
            .tls_backend_preconfigured(tls)
            .build()
            .map_err(|error| TracesError::Client(error.without_url().to_string()))?;
        Ok(Self {
            waiting,
            resource: resource.into(),
            client,
            url: options.url.clone(),
            stop,
            failing: false,
            overflowing: false,
        })
    }

    /// Sends until nobody makes spans any more, or until the stop and everything that waits then.
    pub(super) async fn run(mut self) {
        while let Some(spans) = self.next().await {
            let count = spans.len();
            if self.deliver(spans).await {
                self.sent();
            } else {
                self.waiting.lost.add(count);
            }
        }
    }

    async fn next(&mut self) -> Option<Vec<SpanData>> {
        let mut taken = Vec::new();
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {}
            () = gather(&mut self.waiting.spans, &mut taken) => {}
        }
        if self.stop.is_cancelled() {
            self.waiting.spans.close();
            while taken.len() < MAX_SPANS {
                let room = MAX_SPANS - taken.len();
                if self.waiting.spans.recv_many(&mut taken, room).await == 0 {
                    break;
                }
            }
        }
        (!taken.is_empty()).then_some(taken)
    }

    /// Whether the collector took them.
    async fn deliver(&mut self, spans: Vec<SpanData>) -> bool {
        let resource_spans = group_spans_by_resource_and_scope(spans, &self.resource);
        let body = Bytes::from(ExportTraceServiceRequest { resource_spans }.encode_to_vec());
        let mut pause = FIRST_PAUSE;
        for attempt in 1..=ATTEMPTS {
            let Err(failure) = self.post(body.clone()).await else { return true };
            let again = failure.passes && attempt < ATTEMPTS && !self.stop.is_cancelled();
            self.failed(&failure);
            if !again {
                break;
            }
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
            pause *= 2;
        }
        false
    }

    async fn post(&self, body: Bytes) -> Result<(), Failure> {
        // The body of the answer is not read: it may be endless.
        match self.client.post(&self.url).body(body).send().await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => {
                let passes = matches!(
                    answer.status(),
                    StatusCode::TOO_MANY_REQUESTS
                        | StatusCode::BAD_GATEWAY
                        | StatusCode::SERVICE_UNAVAILABLE
                        | StatusCode::GATEWAY_TIMEOUT
                );
                Err(Failure { error: format!("answered {}", answer.status()), passes })
            }
            Err(error) => Err(Failure { error: http_failure(&error.without_url()), passes: true }),
        }
    }

    fn failed(&mut self, failure: &Failure) {
        if !std::mem::replace(&mut self.failing, true) {
            warn!(error = failure.error, "spans are not taken; they wait as far as there is room");
        }
    }

    fn sent(&mut self) {
        let lost = self.waiting.lost.take();
        if std::mem::take(&mut self.failing) {
            info!(lost, "spans are taken again");
            self.overflowing = false;
            return;
        }
        if lost > 0 && !self.overflowing {
            warn!(lost, "more spans are made than can be sent; see traces.queue_max_spans");
        }
        self.overflowing = lost > 0;
    }
}

/// The next spans, once some are there: as many as go into a request, or as come within [`LINGER`]. Nothing at the end.
async fn gather(spans: &mut mpsc::Receiver<SpanData>, taken: &mut Vec<SpanData>) {
    if spans.recv_many(taken, MAX_SPANS).await == 0 {
        return;
    }
    let until = Instant::now() + LINGER;
    while taken.len() < MAX_SPANS {
        let Ok(1..) = timeout_at(until, spans.recv_many(taken, MAX_SPANS - taken.len())).await else {
            return;
        };
    }
}

fn headers(options: &TraceOptions) -> Result<HeaderMap, TracesError> {
    let mut headers =
        HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"))]);
    for (name, value) in &options.headers {
        let header = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value).ok());
        let (header, mut value) = header.ok_or_else(|| TracesError::Header(name.clone()))?;
        value.set_sensitive(true);
        headers.insert(header, value);
    }
    Ok(headers)
}
