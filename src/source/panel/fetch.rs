//! One question to a panel and its answer, whatever the panel does.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use chrono::{DateTime, Utc};
use rand::RngExt;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};
use rustls::ClientConfig;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::domain::Clock;
use crate::outgoing::http_failure;

/// Attempts after the first.
const RETRIES: u32 = 2;
/// A panel that asks for a longer pause is left alone until then; a shorter one is waited for.
const WAIT_HERE: Duration = Duration::from_secs(30);
/// What a panel that limits the rate is given when it does not say for how long.
const WAIT_UNSTATED: Duration = Duration::from_secs(60);
/// The longest pause that a panel may ask for: one of years, by mistake or not, would end the readings for good.
const WAIT_LONGEST: Duration = Duration::from_secs(86_400);
/// Redirects within the panel's own host that are followed.
const REDIRECTS: usize = 5;
/// Longest token or password.
const SECRET_MAX_BYTES: usize = 16 << 10;

/// How simbridge says who it is. The secret stands in a file, which is read anew for each run, so that it can be changed.
#[derive(Clone, Debug)]
pub enum Auth {
    None,
    /// `Authorization: Bearer`, with the file's content.
    Bearer(PathBuf),
    /// `Authorization: Basic`; the file holds `user:password`.
    Basic(PathBuf),
    /// A header of this name, with the file's content.
    Header(HeaderName, PathBuf),
}

impl Auth {
    /// # Errors
    /// What is wrong with the file; nothing of its content.
    pub(super) fn header(&self) -> Result<Option<(HeaderName, HeaderValue)>, String> {
        let (name, text) = match self {
            Self::None => return Ok(None),
            Self::Bearer(path) => (AUTHORIZATION, format!("Bearer {}", secret(path)?)),
            Self::Basic(path) => (AUTHORIZATION, format!("Basic {}", STANDARD.encode(secret(path)?))),
            Self::Header(name, path) => (name.clone(), secret(path)?),
        };
        let mut value =
            HeaderValue::from_str(&text).map_err(|_| "its content cannot stand in a header".to_owned())?;
        value.set_sensitive(true);
        Ok(Some((name, value)))
    }
}

fn secret(path: &Path) -> Result<String, String> {
    let cannot = |why: String| format!("{}: {why}", path.display());
    let text = std::fs::read_to_string(path).map_err(|cause| cannot(cause.to_string()))?;
    let text = text.trim_end();
    if text.is_empty() || text.len() > SECRET_MAX_BYTES {
        return Err(cannot(format!("must hold 1 to {SECRET_MAX_BYTES} bytes")));
    }
    Ok(text.into())
}

/// Why there is no answer that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FetchFault {
    /// Worth trying again: a network or a panel that is away, an answer that is no JSON.
    Away(String),
    /// Of what was asked for; other accounts may do better.
    Asked(String),
    /// Of who asks: nothing else will be answered either.
    Refused(String),
    /// The panel wants to be left alone for so long.
    Wait(String, Duration),
}

impl FetchFault {
    pub(super) fn text(&self) -> &str {
        let (Self::Away(text) | Self::Asked(text) | Self::Refused(text) | Self::Wait(text, _)) = self;
        text
    }
}

/// How panels are asked.
#[derive(Clone, Debug)]
pub(super) struct FetchLimits {
    pub(super) timeout: Duration,
    pub(super) max_response_bytes: usize,
    /// Before the second attempt; doubled before the third.
    pub(super) retry_first: Duration,
}

/// What was taken from an answer, and when it was asked for: the panel looked at its counters no earlier than that.
#[derive(Debug)]
pub(super) struct Fetched<T> {
    pub(super) asked_at: DateTime<Utc>,
    pub(super) taken: T,
}

/// Asks.
#[derive(Clone)]
pub(super) struct Fetcher {
    client: Client,
    clock: Clock,
    limits: FetchLimits,
    /// One answer at a time is taken apart: as JSON in memory it may need many times its bytes.
    parsing: Arc<Mutex<()>>,
}

impl Fetcher {
    pub(super) fn new(tls: ClientConfig, clock: Clock, limits: FetchLimits) -> Self {
        let client = Client::builder()
            .timeout(limits.timeout)
            .redirect(own_host_only())
            .no_proxy()
            .user_agent(concat!("simbridge/", env!("CARGO_PKG_VERSION")))
            .tls_backend_preconfigured(tls)
            .build()
            .expect("every option is ours");
        Self { client, clock, limits, parsing: Arc::default() }
    }

    /// Asks, and again where that may help.
    pub(super) async fn get<T>(
        &self,
        url: &Url,
        auth: Option<&(HeaderName, HeaderValue)>,
        take: impl Fn(&Value) -> T,
    ) -> Result<Fetched<T>, FetchFault> {
        let mut attempt = 0;
        loop {
            let asked_at = self.clock.now();
            let fault = match self.ask(url, auth, &take).await {
                Ok(taken) => return Ok(Fetched { asked_at, taken }),
                Err(fault) => fault,
            };
            let pause = match &fault {
                FetchFault::Away(_) => self.limits.retry_first * 2_u32.pow(attempt),
                FetchFault::Wait(_, wait) if *wait <= WAIT_HERE => *wait,
                _ => return Err(fault),
            };
            if attempt == RETRIES {
                return Err(fault);
            }
            attempt += 1;
            // Instances and accounts that failed together do not come back together.
            let jitter = rand::rng().random_range(1.0..1.25);
            tokio::time::sleep(pause.mul_f64(jitter)).await;
        }
    }

    async fn ask<T>(
        &self,
        url: &Url,
        auth: Option<&(HeaderName, HeaderValue)>,
        take: impl Fn(&Value) -> T,
    ) -> Result<T, FetchFault> {
        let mut request = self.client.get(url.clone()).header(ACCEPT, "application/json");
        if let Some((name, value)) = auth {
            request = request.header(name.clone(), value.clone());
        }
        let away = |error: reqwest::Error| FetchFault::Away(http_failure(&error.without_url()));
        let response = request.send().await.map_err(away)?;
        self.check(&response)?;
        let body = self.body(response).await?;
        let _one_at_a_time = self.parsing.lock().await;
        match serde_json::from_slice::<Value>(&body) {
            Ok(answer) => Ok(take(&answer)),
            Err(error) => Err(FetchFault::Away(format!("answered with something that is no JSON: {error}"))),
        }
    }

    fn check(&self, response: &Response) -> Result<(), FetchFault> {
        let status = response.status();
        let text = format!("answered {status}");
        match status {
            _ if status.is_success() => Ok(()),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(FetchFault::Refused(text)),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                let stated = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
                match stated.and_then(|stated| retry_after(stated, self.clock.now())) {
                    Some(wait) => Err(FetchFault::Wait(text, wait.min(WAIT_LONGEST))),
                    None if status == StatusCode::TOO_MANY_REQUESTS => {
                        Err(FetchFault::Wait(text, WAIT_UNSTATED))
                    }
                    None => Err(FetchFault::Away(text)),
                }
            }
            _ if status.is_redirection() => {
                Err(FetchFault::Refused(format!("{text}, which leads elsewhere and is not followed")))
            }
            _ if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => {
                Err(FetchFault::Away(text))
            }
            _ => Err(FetchFault::Asked(text)),
        }
    }

    async fn body(&self, mut response: Response) -> Result<BytesMut, FetchFault> {
        let most = self.limits.max_response_bytes;
        let mut body = BytesMut::new();
        let away = |error: reqwest::Error| FetchFault::Away(http_failure(&error.without_url()));
        while let Some(part) = response.chunk().await.map_err(away)? {
            if body.len() + part.len() > most {
                return Err(FetchFault::Asked(format!("answered with more than {most} bytes")));
            }
            body.extend_from_slice(&part);
        }
        Ok(body)
    }
}

/// A redirect to another host would be given the secret, or would be whatever somebody else wants to be read.
fn own_host_only() -> Policy {
    Policy::custom(|attempt| {
        let origin = attempt.previous().first().map(Url::origin);
        let own = origin.is_none_or(|origin| origin == attempt.url().origin());
        if own && attempt.previous().len() <= REDIRECTS { attempt.follow() } else { attempt.stop() }
    })
}

/// `Retry-After` (RFC 9110, 10.2.3): seconds, or a date.
fn retry_after(text: &str, now: DateTime<Utc>) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are a long time.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let at = DateTime::parse_from_rfc2822(text).ok()?;
    Some(at.signed_duration_since(now).to_std().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_stated_in_seconds_or_as_a_date() {
        let now = "2026-03-10T12:00:00Z".parse().expect("a time");
        let wait = |text| retry_after(text, now).map(|wait| wait.as_secs());
        assert_eq!(wait("120"), Some(120));
        assert_eq!(wait(" 0 "), Some(0));
        assert_eq!(wait("Tue, 10 Mar 2026 12:01:30 GMT"), Some(90));
        assert_eq!(wait("Tue, 10 Mar 2026 11:59:00 GMT"), Some(0), "it is over");
        assert_eq!(wait("99999999999999999999999"), Some(u64::MAX));
        for none in ["", "soon", "-5", "1.5"] {
            assert_eq!(wait(none), None, "{none}");
        }
    }

    /// Catches a secret in the log, and a line break that would make a second header of it.
    #[test]
    fn a_secret_is_read_from_its_file_and_shown_nowhere() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let header = |auth: &Auth| auth.header().map(|header| header.expect("a header").1);
        std::fs::write(file.path(), "s3cret\n").expect("it is ours");
        let bearer = header(&Auth::Bearer(file.path().into())).expect("a value");
        assert_eq!((bearer.as_bytes(), format!("{bearer:?}").as_str()), (&b"Bearer s3cret"[..], "Sensitive"));
        std::fs::write(file.path(), "me:word").expect("it is ours");
        assert_eq!(header(&Auth::Basic(file.path().into())).expect("a value"), "Basic bWU6d29yZA==");
        std::fs::write(file.path(), "a\r\nX-Evil: 1").expect("it is ours");
        let fault = header(&Auth::Bearer(file.path().into())).expect_err("no value");
        assert!(!fault.contains("Evil"), "{fault}");
        std::fs::write(file.path(), "\n").expect("it is ours");
        assert!(header(&Auth::Bearer(file.path().into())).is_err());
        assert!(header(&Auth::Bearer("/nonexistent/token".into())).is_err());
    }
}
