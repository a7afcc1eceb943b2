use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use serde::{Deserialize, Serialize};

use crate::traces::TraceOptions;

/// Where collectors take traces, below their address.
const PATH: &str = "/v1/traces";

/// Traces for a collector of OpenTelemetry.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct TracesConfig {
    /// Address of the collector; empty for no traces.
    pub endpoint: String,
    /// `name=value` pairs with commas between, sent with each request.
    pub headers: String,
    /// PEM file with the authority of the collector's certificate, beside the machine's own.
    pub ca_file: PathBuf,
    /// Share of the traces that are recorded, of those that begin here.
    pub sample_ratio: f64,
    pub service_name: String,
    /// `name=value` pairs with commas between, which stand with every span.
    pub resource_attributes: String,
    /// For how long one request to the collector may take.
    pub timeout_ms: u64,
    /// Spans that may wait for the collector.
    pub queue_max_spans: usize,
    /// For how long the end of the program waits for the collector.
    pub flush_ms: u64,
}

impl Default for TracesConfig {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            headers: String::new(),
            ca_file: PathBuf::new(),
            sample_ratio: 1.0,
            service_name: "simbridge".into(),
            resource_attributes: String::new(),
            timeout_ms: 10_000,
            queue_max_spans: 4_096,
            flush_ms: 2_000,
        }
    }
}

impl TracesConfig {
    /// What `instance` makes of it; `None` when there are to be no traces.
    pub fn options(&self, instance: &str) -> Option<TraceOptions> {
        if self.endpoint.is_empty() {
            return None;
        }
        let own = [
            ("service.name", self.service_name.as_str()),
            ("service.version", env!("CARGO_PKG_VERSION")),
            ("service.instance.id", instance),
        ];
        let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
        // Those that were stated say more, except for the name, which has a key of its own.
        let stated = pairs(&self.resource_attributes).into_iter().flatten();
        let stated = stated.filter(|(name, _)| name != "service.name");
        Some(TraceOptions {
            url: format!("{}{PATH}", self.endpoint.trim_end_matches('/')),
            headers: pairs(&self.headers).unwrap_or_default(),
            ca_file: self.ca_file.clone(),
            sample_ratio: self.sample_ratio,
            resource: own.into_iter().chain(stated).collect(),
            timeout: Duration::from_millis(self.timeout_ms),
            queue_max_spans: self.queue_max_spans,
            flush: Duration::from_millis(self.flush_ms),
        })
    }

    pub(super) fn fault(&self) -> Option<(&'static str, String)> {
        if !self.endpoint.is_empty() && !cfg!(feature = "opentelemetry") {
            let problem = "this program was built without traces; build it with `--features opentelemetry`";
            return Some(("traces.endpoint", problem.into()));
        }
        let url = Url::parse(&self.endpoint);
        if !self.endpoint.is_empty()
            && !url.is_ok_and(|url| ["http", "https"].contains(&url.scheme()) && url.query().is_none())
        {
            return Some(("traces.endpoint", "must be an address such as http://127.0.0.1:4318".into()));
        }
        for (key, text) in
            [("traces.headers", &self.headers), ("traces.resource_attributes", &self.resource_attributes)]
        {
            if pairs(text).is_none() {
                return Some((key, "must be name=value pairs with commas between".into()));
            }
        }
        if !(0.0..=1.0).contains(&self.sample_ratio) {
            return Some(("traces.sample_ratio", "must be from 0 to 1".into()));
        }
        if self.service_name.is_empty() {
            return Some(("traces.service_name", "must not be empty".into()));
        }
        if !(1..=1_000_000).contains(&self.queue_max_spans) {
            return Some(("traces.queue_max_spans", "must be from 1 to 1000000".into()));
        }
        (self.timeout_ms == 0).then(|| ("traces.timeout_ms", "must be at least 1".into()))
    }
}

/// `a=b,c=d`, in which values may be percent-encoded: the form of `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_EXPORTER_OTLP_HEADERS`.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let stated = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    stated
        .map(|pair| {
            let (name, value) = pair.split_once('=')?;
            let name = name.trim();
            (!name.is_empty()).then_some((name.to_owned(), decoded(value.trim())?))
        })
        .collect()
}

/// Without the percent-encoding. Not as forms have it, in which a + is a blank.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        bytes.push(match byte {
            b'%' => u8::try_from(digit(rest.next())? * 16 + digit(rest.next())?).ok()?,
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read_as_the_specification_of_their_variables_has_them() {
        let read =
            |text: &str| pairs(text).map(|pairs| pairs.into_iter().map(|(n, v)| n + ":" + &v).collect());
        let list = |items: &[&str]| Some(items.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>());
        assert_eq!(read(""), list(&[]));
        assert_eq!(
            read("Authorization=Basic%20YTpi+/==, b = c ,"),
            list(&["Authorization:Basic YTpi+/==", "b:c"])
        );
        for wrong in ["name", "=value", "a=%4", "a=%zz", "a=%ff"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_instance_is_named_and_what_was_stated_of_it_counts() {
        let config = TracesConfig {
            endpoint: "http://collector:4318/".into(),
            resource_attributes: "deployment.environment.name=trial,service.name=other".into(),
            ..TracesConfig::default()
        };
        let options = config.options("north").expect("there is an address");
        assert_eq!(options.url, "http://collector:4318/v1/traces");
        let names: Vec<_> = options.resource.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(names[0], "service.name=simbridge");
        assert_eq!(names[2..], ["service.instance.id=north", "deployment.environment.name=trial"]);
        assert!(TracesConfig::default().options("north").is_none());
    }

    #[cfg(not(feature = "opentelemetry"))]
    #[test]
    fn a_program_without_traces_says_so_when_it_is_to_make_them() {
        let config = TracesConfig { endpoint: "http://127.0.0.1:4318".into(), ..TracesConfig::default() };
        let (key, problem) = config.fault().expect("it cannot");
        assert_eq!(key, "traces.endpoint");
        assert!(problem.contains("--features opentelemetry"), "{problem}");
    }

    #[cfg(feature = "opentelemetry")]
    #[test]
    fn what_cannot_be_an_address_or_a_share_is_refused() {
        let fault = |config: TracesConfig| config.fault().map(|(key, _)| key);
        let good = || TracesConfig { endpoint: "https://collector/otlp".into(), ..TracesConfig::default() };
        assert_eq!(fault(good()), None);
        for endpoint in ["collector:4318", "grpc://collector", "http://", "http://c?token=x"] {
            assert_eq!(
                fault(TracesConfig { endpoint: endpoint.into(), ..good() }),
                Some("traces.endpoint"),
                "{endpoint}"
            );
        }
        for share in [-0.1, 1.1, f64::NAN] {
            assert_eq!(fault(TracesConfig { sample_ratio: share, ..good() }), Some("traces.sample_ratio"));
        }
        assert_eq!(fault(TracesConfig { headers: "token".into(), ..good() }), Some("traces.headers"));
    }
}
