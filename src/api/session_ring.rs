//! Sessions of the dashboard: an API key that was shown once stands behind a cookie until it is revoked, the session expires
//! or somebody signs out.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use rand::RngExt;
use tokio::time::Instant;

use crate::config::HttpConfig;
use crate::domain::Clock;
use crate::store::Store;
use crate::store::api_keys::ApiKey;
use crate::store::dashboard_sessions::TokenHash;

use super::error::ApiError;
use super::key_ring::hash_key;
use super::remembered::Remembered;
use super::strangers::Strangers;

const COOKIE: &str = "simbridge_session";
/// 256 random bits in base64url.
const TOKEN_CHARS: usize = 43;
/// A page asks for a dozen things at once. A session that ended is refused after so long at the latest.
const REMEMBER_FOR: Duration = Duration::from_millis(500);

/// A session that counted when it was looked up.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) key: Arc<ApiKey>,
    pub(super) expires_at: DateTime<Utc>,
}

/// Knows who is signed in.
pub(crate) struct SessionRing {
    store: Store,
    clock: Clock,
    lifetime: TimeDelta,
    per_key: i64,
    secure: bool,
    /// Apart from those who guess keys: a browser with an old cookie can still sign in.
    strangers: Strangers,
    remembered: Remembered<Session>,
}

impl SessionRing {
    pub(crate) fn new(store: Store, clock: Clock, demo: bool, config: &HttpConfig) -> Self {
        Self {
            store,
            clock,
            lifetime: TimeDelta::hours(config.dashboard_session_hours.into()),
            per_key: config.dashboard_sessions_per_key.into(),
            secure: config.secure_cookies,
            strangers: Strangers::new(if demo { 0 } else { config.rate_limit.wrong_keys_per_minute }),
            remembered: Remembered::default(),
        }
    }

    /// Begins a session; returns it with the cookie that stands for it.
    ///
    /// # Errors
    /// [`ApiError::KeyDisabled`] when the key was revoked meanwhile, or an outage.
    pub(super) async fn open(&self, key: Arc<ApiKey>) -> Result<(Session, HeaderValue), ApiError> {
        let secret: [u8; 32] = rand::rng().random();
        let token = URL_SAFE_NO_PAD.encode(secret);
        let now = self.clock.now();
        let expires_at = now + self.lifetime;
        let hash = hash_key(&token);
        let opened = self.store.open_dashboard_session(&hash, key.id, now, expires_at, self.per_key).await?;
        if !opened {
            return Err(ApiError::KeyDisabled);
        }
        let session = Session { key, expires_at };
        self.remembered.keep(hash, session.clone(), Instant::now());
        Ok((session, self.cookie(&token, self.lifetime.num_seconds())))
    }

    /// Whose session a token stands for.
    ///
    /// # Errors
    /// [`ApiError::Unauthorized`], [`ApiError::RateLimited`] after too many unknown tokens, or an outage.
    pub(super) async fn verify(&self, token: &str, address: IpAddr) -> Result<Session, ApiError> {
        if token.len() != TOKEN_CHARS {
            return Err(ApiError::Unauthorized);
        }
        let hash = hash_key(token);
        let known = self.remembered.recall(&hash).is_some();
        if !known {
            self.strangers.check(address)?;
        }
        self.find(&hash).await?.ok_or_else(|| {
            if !known {
                self.strangers.guessed(address);
            }
            ApiError::Unauthorized
        })
    }

    /// The session of a hash, as it stood a moment ago.
    ///
    /// # Errors
    /// An outage.
    pub(super) async fn find(&self, hash: &TokenHash) -> Result<Option<Session>, ApiError> {
        let now = self.clock.now();
        if let Some((found, at)) = self.remembered.recall(hash)
            && at.elapsed() < REMEMBER_FOR
        {
            return Ok(Some(found).filter(|found| now < found.expires_at));
        }
        let found = self.store.dashboard_session(hash, now).await?;
        let found = found.map(|found| Session { key: found.key.into(), expires_at: found.expires_at });
        match &found {
            Some(session) => self.remembered.keep(*hash, session.clone(), Instant::now()),
            None => self.remembered.forget(hash),
        }
        Ok(found)
    }

    /// Ends a session, if there is one; returns the cookie that takes the place of its cookie.
    ///
    /// # Errors
    /// An outage.
    pub(super) async fn close(&self, token: &str) -> Result<HeaderValue, ApiError> {
        let hash = hash_key(token);
        self.store.close_dashboard_session(&hash).await?;
        self.remembered.forget(&hash);
        Ok(self.cookie("", 0))
    }

    /// No script reads it, and no page of another site sends it.
    fn cookie(&self, token: &str, seconds: i64) -> HeaderValue {
        let secure = if self.secure { "; Secure" } else { "" };
        let text = format!("{COOKIE}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
        HeaderValue::from_str(&text).expect("base64url and words")
    }
}

/// The token in the cookie of a request.
pub(super) fn token(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs =
        cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, token)| token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_found_among_other_cookies() {
        let mut headers = HeaderMap::new();
        assert_eq!(token(&headers), None);
        headers.append(
            header::COOKIE,
            "theme=dark; xsimbridge_session=no; simbridge_session=abc".parse().unwrap(),
        );
        headers.append(header::COOKIE, "simbridge_session=later".parse().unwrap());
        assert_eq!(token(&headers), Some("abc"));
    }
}
