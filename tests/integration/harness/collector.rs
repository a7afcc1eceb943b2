//! A collector of OpenTelemetry: OTLP over HTTP, on a socket of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::eventually;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Takes,
    /// Connections end before an answer.
    Breaks,
    /// Nothing is answered for as long as whoever sends stays.
    Hangs,
}

pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    kept: Arc<Mutex<Kept>>,
}

struct Kept {
    mood: Mood,
    /// Requests that came, taken or not.
    came: usize,
    heads: Vec<String>,
    taken: Vec<ExportTraceServiceRequest>,
}

/// A span as a collector has it. Ids are hexadecimal digits; that of the parent is empty where a trace begins.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) trace: String,
    pub(crate) id: String,
    pub(crate) parent: String,
    pub(crate) name: String,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) failed: bool,
    /// Traces that it names.
    pub(crate) links: Vec<String>,
    pub(crate) nanos: (u64, u64),
}

impl Seen {
    pub(crate) fn has(&self, key: &str) -> &str {
        self.attributes.get(key).map_or("", String::as_str)
    }
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let kept = Kept { mood: Mood::Takes, came: 0, heads: Vec::new(), taken: Vec::new() };
        let kept = Arc::new(Mutex::new(kept));
        let shared = kept.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, shared.clone()));
            }
        });
        Self { address, kept }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn is_in_the_mood(&self, mood: Mood) {
        self.kept.lock().expect("no panic").mood = mood;
    }

    pub(crate) fn came(&self) -> usize {
        self.kept.lock().expect("no panic").came
    }

    /// Request line and headers of each request.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.kept.lock().expect("no panic").heads.clone()
    }

    /// All that was taken, as text.
    pub(crate) fn text(&self) -> String {
        format!("{:?}", self.kept.lock().expect("no panic").taken)
    }

    /// What stands with every span.
    pub(crate) fn resource(&self) -> BTreeMap<String, String> {
        let kept = self.kept.lock().expect("no panic");
        let resources = kept.taken.iter().flat_map(|request| &request.resource_spans);
        resources.flat_map(|spans| &spans.resource).flat_map(|resource| texts(&resource.attributes)).collect()
    }

    pub(crate) fn spans(&self) -> Vec<Seen> {
        let kept = self.kept.lock().expect("no panic");
        let scopes = kept.taken.iter().flat_map(|request| &request.resource_spans);
        let spans = scopes.flat_map(|of| &of.scope_spans).flat_map(|of| &of.spans);
        spans.map(seen).collect()
    }

    pub(crate) fn named(&self, name: &str) -> Vec<Seen> {
        self.spans().into_iter().filter(|span| span.name == name).collect()
    }

    /// Waits for a span of this name that fits.
    pub(crate) async fn finds(&self, name: &str, fits: impl Fn(&Seen) -> bool) -> Seen {
        eventually(name, async || self.named(name).into_iter().find(|span| fits(span))).await
    }

    /// The steps right below a span, which are sent together with it or before.
    pub(crate) fn below(&self, span: &Seen) -> Vec<Seen> {
        let all = self.spans().into_iter();
        all.filter(|step| step.parent == span.id && step.trace == span.trace).collect()
    }

    pub(crate) fn step(&self, of: &Seen, name: &str) -> Seen {
        let steps = self.below(of);
        steps.iter().find(|step| step.name == name).unwrap_or_else(|| panic!("{name} in {steps:#?}")).clone()
    }
}

fn seen(span: &Span) -> Seen {
    Seen {
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        name: span.name.clone(),
        attributes: texts(&span.attributes).collect(),
        failed: span.status.as_ref().is_some_and(|status| status.code == 2),
        links: span.links.iter().map(|link| hex(&link.trace_id)).collect(),
        nanos: (span.start_time_unix_nano, span.end_time_unix_nano),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn texts(attributes: &[KeyValue]) -> impl Iterator<Item = (String, String)> {
    attributes.iter().map(|attribute| {
        let value = match &attribute.value {
            Some(AnyValue { value: Some(Value::StringValue(text)) }) => text.clone(),
            Some(AnyValue { value: Some(Value::IntValue(number)) }) => number.to_string(),
            Some(AnyValue { value: Some(Value::BoolValue(flag)) }) => flag.to_string(),
            other => panic!("{}: {other:?}", attribute.key),
        };
        (attribute.key.clone(), value)
    })
}

async fn serve(mut socket: TcpStream, kept: Arc<Mutex<Kept>>) {
    while let Some((head, body)) = request(&mut socket).await {
        let mood = {
            let mut kept = kept.lock().expect("no panic");
            kept.came += 1;
            kept.heads.push(head);
            if kept.mood == Mood::Takes {
                kept.taken.push(ExportTraceServiceRequest::decode(&body[..]).expect("OTLP"));
            }
            kept.mood
        };
        match mood {
            Mood::Takes => {
                if socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.is_err() {
                    return;
                }
            }
            Mood::Breaks => return,
            // Ends when the other side does.
            Mood::Hangs => {
                socket.read_u8().await.ok();
                return;
            }
        }
    }
}

async fn request(socket: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).expect("ASCII");
    let length =
        head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.expect("its length")];
    socket.read_exact(&mut body).await.ok()?;
    Some((head, body))
}
