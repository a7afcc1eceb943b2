use std::collections::HashMap;

use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;
pub(crate) use simbridge::api::DEMO_KEY;
use simbridge::api::{hash_key, make_key};
use simbridge::app::{Bridge, StartOptions};
use simbridge::config::Config;
use simbridge::domain::{Clock, PermissionPattern};

use super::PATIENCE;
use super::database::TestDatabase;
use super::pipeline::time;

/// The whole program in this process, on free ports, with an HTTP client that is not ours.
pub(crate) struct TestApi {
    pub(crate) bridge: Bridge,
    pub(crate) base: String,
    client: Client,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("visible characters"))
    }
}

impl TestApi {
    /// Outside demo mode: nothing is open.
    pub(crate) async fn start(database: &TestDatabase) -> Self {
        Self::start_with(database, Clock::System, false, |_| ()).await
    }

    /// In demo mode.
    pub(crate) async fn demo(database: &TestDatabase) -> Self {
        Self::start_with(database, Clock::System, true, |_| ()).await
    }

    /// A program to which it is always `at`, such as `2026-03-10T12:00:00Z`.
    pub(crate) async fn start_at(database: &TestDatabase, at: &str) -> Self {
        Self::start_with(database, Clock::Fixed(time(at)), false, |_| ()).await
    }

    pub(crate) async fn start_with(
        database: &TestDatabase,
        clock: Clock,
        open: bool,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let mut config = Config::default();
        config.database.url = database.url();
        config.mqtt.listen = "127.0.0.1:0".into();
        config.mqtt.anonymous = true;
        config.http.listen = "127.0.0.1:0".into();
        config.reconcile.enabled = false;
        change(&mut config);
        let bridge = Bridge::start(&config, StartOptions { clock, open }).await.expect("it starts");
        let base = format!("http://{}", bridge.http_addr.expect("HTTP is on"));
        Self { bridge, base, client: client() }
    }

    /// A new key of the tenant `default`.
    pub(crate) async fn key(&self, permissions: &[&str]) -> String {
        self.key_of("default", permissions).await
    }

    pub(crate) async fn key_of(&self, tenant: &str, permissions: &[&str]) -> String {
        self.key_with(tenant, permissions, &[]).await
    }

    /// A key with rate limits of its own, in requests a minute.
    pub(crate) async fn key_with(
        &self,
        tenant: &str,
        permissions: &[&str],
        rate_limits: &[(&str, u32)],
    ) -> String {
        let key = make_key();
        let permissions: Vec<PermissionPattern> =
            permissions.iter().map(|text| text.parse().expect("a permission")).collect();
        let limits: HashMap<String, u32> = rate_limits.iter().map(|(c, n)| ((*c).into(), *n)).collect();
        let added = self.bridge.store.add_api_key(tenant, &key, &hash_key(&key), &permissions, &limits).await;
        added.expect("it is stored").expect("the tenant exists");
        key
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    /// GET without a key.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        sent(self.request(Method::GET, path)).await
    }

    pub(crate) async fn get_as(&self, key: &str, path: &str) -> Answer {
        sent(self.request(Method::GET, path).bearer_auth(key)).await
    }

    pub(crate) async fn post_as(&self, key: &str, path: &str, body: &Value) -> Answer {
        self.send_as(key, Method::POST, path, body).await
    }

    pub(crate) async fn send_as(&self, key: &str, method: Method, path: &str, body: &Value) -> Answer {
        sent(self.request(method, path).bearer_auth(key).json(body)).await
    }

    pub(crate) async fn close(self) {
        self.bridge.close().await;
    }
}

/// An HTTP client, also before a program was started in this process.
pub(crate) fn client() -> Client {
    // Fails when it was installed before.
    rustls::crypto::ring::default_provider().install_default().ok();
    Client::builder().no_proxy().timeout(PATIENCE).build().expect("a client")
}

/// Sends a request and reads its answer.
pub(crate) async fn sent(request: RequestBuilder) -> Answer {
    let response = request.send().await.expect("an answer");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Answer { status, headers, text: response.text().await.expect("UTF-8") }
}
