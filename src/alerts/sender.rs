use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use reqwest::Client;
use reqwest::redirect::Policy;
use sha2::Sha256;

use crate::domain::Clock;
use crate::outgoing::{TlsFiles, http_failure, tls_client};
use crate::store::alert_webhooks::ClaimedDelivery;

use super::target::{CheckedNames, check_target};
use super::{WebhookBody, WebhookOptions};

/// Makes attempts.
#[derive(Clone)]
pub(super) struct Sender {
    client: Client,
    clock: Clock,
    allow_private: bool,
}

/// How an attempt ended, as far as the network knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answered {
    pub(super) status: Option<u16>,
    /// `None` when it was taken.
    pub(super) error: Option<String>,
}

impl Sender {
    pub(super) fn new(options: &WebhookOptions, clock: Clock) -> Self {
        let tls = tls_client(&TlsFiles::default())
            .expect("no file is stated, and the provider has the versions that are safe");
        let client = Client::builder()
            .timeout(options.timeout)
            // A redirect could lead where the address itself must not.
            .redirect(Policy::none())
            .no_proxy()
            .dns_resolver(Arc::new(CheckedNames { allow_private: options.allow_private }))
            .pool_max_idle_per_host(0)
            .user_agent(concat!("simbridge/", env!("CARGO_PKG_VERSION")))
            .tls_backend_preconfigured(tls)
            .build()
            .expect("every option is ours");
        Self { client, clock, allow_private: options.allow_private }
    }

    pub(super) async fn post(&self, delivery: &ClaimedDelivery) -> Answered {
        let refused = |error: String| Answered { status: None, error: Some(error) };
        // Once more, because it may have been allowed when the webhook was made.
        let url = match check_target(&delivery.url, self.allow_private) {
            Ok(url) => url,
            Err(fault) => return refused(format!("the address {fault}")),
        };
        let body = WebhookBody::json(delivery.alert.clone());
        let timestamp = self.clock.now().timestamp().to_string();
        let signature = signature(&delivery.secret.0, &timestamp, &body);
        let request = self
            .client
            .post(url)
            .header("Content-Type", "application/json")
            .header("X-Simbridge-Delivery", delivery.id.to_string())
            .header("X-Simbridge-Timestamp", timestamp)
            .header("X-Simbridge-Signature", format!("v1={signature}"))
            .body(body);
        match request.send().await {
            // The body of the answer is not read: nobody needs it, and it may be endless.
            Ok(answer) => {
                let status = answer.status();
                let error = (!status.is_success()).then(|| format!("answered {status}"));
                Answered { status: Some(status.as_u16()), error }
            }
            Err(error) => refused(http_failure(&error.without_url())),
        }
    }
}

/// HMAC-SHA256 over `timestamp.body` in hexadecimal digits, with the whole secret as its key.
pub fn signature(secret: &str, timestamp: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    for part in [timestamp.as_bytes(), b".", body] {
        mac.update(part);
    }
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_what_every_other_tool_makes_of_it() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac whsec_test
        let expected = "38877139021993b830af32feea6e18a8da83eb2f6e49ee50bd9e4cf4ca4d3789";
        assert_eq!(signature("whsec_test", "1700000000", br#"{"a":1}"#), expected);
    }
}
