use serde::{Deserialize, Serialize};

/// The HTTP API, health, metrics and the start page.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    pub enabled: bool,
    /// Address and port.
    pub listen: String,
    /// Connections at once; more wait until one ends.
    pub max_connections: usize,
    /// For how long the head of a request may take, and a connection may be idle.
    pub head_timeout_ms: u64,
    /// Origins whose pages may call the API; `*` for all. In demo mode all may.
    pub cors_origins: Vec<String>,
    /// Bytes of a body, after unpacking.
    pub body_max_bytes: usize,
    /// Bytes of a file of SIMs.
    pub import_max_bytes: usize,
    /// Answers of the consumption page that are kept while nothing that they show changes; 0 for none.
    pub consumption_cache_max_bytes: usize,
    /// For how long a request may take, its body included.
    pub request_timeout_ms: u64,
    /// For how long a POST of usage waits for its COMMIT.
    pub post_timeout_ms: u64,
    /// For how long an Idempotency-Key is remembered.
    pub idempotency_hours: u32,
    /// A session without a reading for so long is expired.
    pub session_idle_minutes: u32,
    /// After so long somebody who signed in at the dashboard has to do it again.
    pub dashboard_session_hours: u32,
    /// Sessions of one API key; beyond that those used least recently end.
    pub dashboard_sessions_per_key: u32,
    /// Browsers send the dashboard's cookie over TLS only.
    pub secure_cookies: bool,
    /// Clients that are pushed live figures, at once.
    pub live_max_watchers: usize,
    pub rate_limit: RateLimitConfig,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: "127.0.0.1:8080".into(),
            max_connections: 1_000,
            head_timeout_ms: 30_000,
            cors_origins: Vec::new(),
            body_max_bytes: 1 << 20,
            import_max_bytes: 32 << 20,
            consumption_cache_max_bytes: 32 << 20,
            request_timeout_ms: 30_000,
            post_timeout_ms: 10_000,
            idempotency_hours: 24,
            session_idle_minutes: 30,
            dashboard_session_hours: 12,
            dashboard_sessions_per_key: 50,
            secure_cookies: false,
            live_max_watchers: 500,
            rate_limit: RateLimitConfig::default(),
        }
    }
}

/// Requests a minute of one API key; 0 for no limit. A key may have limits of its own. Off in demo mode.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RateLimitConfig {
    /// POST of one record and resets of cycles.
    pub usage_single_per_minute: u32,
    pub usage_batch_per_minute: u32,
    pub provisioning_read_per_minute: u32,
    pub provisioning_write_per_minute: u32,
    /// Usage, consumption and alerts.
    pub reading_per_minute: u32,
    /// Unknown keys from one address; beyond that it waits before the database is asked again.
    pub wrong_keys_per_minute: u32,
}

impl Default for RateLimitConfig {
    fn default() -> Self {
        Self {
            usage_single_per_minute: 200,
            usage_batch_per_minute: 20,
            provisioning_read_per_minute: 500,
            provisioning_write_per_minute: 100,
            reading_per_minute: 1_200,
            wrong_keys_per_minute: 30,
        }
    }
}

impl RateLimitConfig {
    /// No limits at all.
    pub fn off() -> Self {
        Self {
            usage_single_per_minute: 0,
            usage_batch_per_minute: 0,
            provisioning_read_per_minute: 0,
            provisioning_write_per_minute: 0,
            reading_per_minute: 0,
            wrong_keys_per_minute: 0,
        }
    }
}
