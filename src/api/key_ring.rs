//! API keys: looked up by the SHA-256 of the whole key, remembered for a few seconds, guesses slowed down.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::RngExt;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::config::RateLimitConfig;
use crate::domain::{API_KEY_PREFIX, Permission, PermissionPattern, TenantId};
use crate::store::Store;
use crate::store::api_keys::{ApiKey, KeyHash};

use super::caller::{Caller, Proof, Who};
use super::error::ApiError;
use super::key_uses::KeyUses;
use super::rate_limit::{LimitClass, RateLimits, Standing};
use super::remembered::Remembered;
use super::strangers::Strangers;

/// What existing simulators send unless they are told otherwise; accepted in demo mode only (contract §3).
pub const DEMO_KEY: &str = "test_provisioning_key_12345";
const DEMO_KEY_PERMISSIONS: [PermissionPattern; 3] = [
    PermissionPattern::Category("usage"),
    PermissionPattern::Category("sims"),
    PermissionPattern::One(Permission::ConsumptionRead),
];
const NOBODY_PERMISSIONS: [PermissionPattern; 5] = [
    PermissionPattern::One(Permission::UsageRead),
    PermissionPattern::One(Permission::SimsRead),
    PermissionPattern::One(Permission::ConsumptionRead),
    PermissionPattern::One(Permission::AdminSettings),
    PermissionPattern::One(Permission::AdminQuarantine),
];
/// A revoked key is refused after so long at the latest.
const REMEMBER_FOR: Duration = Duration::from_secs(5);
/// Longer than any key; what is longer is not even hashed.
const KEY_MAX_BYTES: usize = 200;

/// A new key: [`API_KEY_PREFIX`] and 256 random bits.
pub fn make_key() -> String {
    let secret: [u8; 32] = rand::rng().random();
    format!("{API_KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(secret))
}

/// What is stored of a key.
pub fn hash_key(key: &str) -> KeyHash {
    Sha256::digest(key.as_bytes()).into()
}

/// Knows who has which key.
pub(crate) struct KeyRing {
    store: Store,
    /// In demo mode: the tenant of everybody.
    demo: Option<TenantId>,
    limits: RateLimits,
    strangers: Strangers,
    uses: KeyUses,
    remembered: Remembered<Arc<ApiKey>>,
}

impl KeyRing {
    pub(crate) fn new(store: Store, demo: Option<TenantId>, config: &RateLimitConfig, uses: KeyUses) -> Self {
        let limits = if demo.is_some() { RateLimitConfig::off() } else { config.clone() };
        let strangers = Strangers::new(limits.wrong_keys_per_minute);
        let limits = RateLimits::new(limits, uses.clock());
        Self { store, demo, limits, strangers, uses, remembered: Remembered::default() }
    }

    /// Who presents this key.
    ///
    /// # Errors
    /// [`ApiError::Unauthorized`], [`ApiError::KeyDisabled`], [`ApiError::RateLimited`] after too many unknown keys, or an
    /// outage.
    pub(crate) async fn verify(&self, key: &str, address: IpAddr) -> Result<Caller, ApiError> {
        if key.len() > KEY_MAX_BYTES {
            return Err(ApiError::Unauthorized);
        }
        let hash = hash_key(key);
        if let Some(tenant) = self.demo.filter(|_| hash == hash_key(DEMO_KEY)) {
            return Ok(Caller {
                tenant,
                who: Who::Demo("demo", &DEMO_KEY_PERMISSIONS),
                address,
                proof: Proof::None,
            });
        }
        let found = match self.remembered.recall(&hash) {
            Some((found, at)) if at.elapsed() < REMEMBER_FOR => found,
            Some(_) => self.look_up(hash).await?.ok_or(ApiError::Unauthorized)?,
            None => {
                self.strangers.check(address)?;
                let found = self.look_up(hash).await?;
                found.ok_or_else(|| {
                    self.strangers.guessed(address);
                    ApiError::Unauthorized
                })?
            }
        };
        if !found.enabled {
            return Err(ApiError::KeyDisabled);
        }
        Ok(Caller { tenant: found.tenant, who: Who::Key(found), address, proof: Proof::Key(hash) })
    }

    /// The key of a hash, as it stood a moment ago, revoked or not.
    ///
    /// # Errors
    /// An outage.
    pub(super) async fn find(&self, hash: &KeyHash) -> Result<Option<Arc<ApiKey>>, ApiError> {
        match self.remembered.recall(hash) {
            Some((found, at)) if at.elapsed() < REMEMBER_FOR => Ok(Some(found)),
            _ => self.look_up(*hash).await,
        }
    }

    /// Somebody without a key, in demo mode.
    pub(crate) fn nobody(&self, address: IpAddr) -> Caller {
        let tenant = self.demo.expect("asked for in demo mode only");
        Caller { tenant, who: Who::Demo("nobody", &NOBODY_PERMISSIONS), address, proof: Proof::None }
    }

    /// Whether the caller may do this, and now.
    ///
    /// # Errors
    /// [`ApiError::Missing`], [`ApiError::RateLimited`].
    pub(crate) fn admit(
        &self,
        caller: &Caller,
        permission: Permission,
        class: LimitClass,
        standing: &Standing,
    ) -> Result<(), ApiError> {
        let admitted = if caller.may(permission) {
            self.limits.check(caller, class, standing)
        } else {
            Err(ApiError::Missing(permission))
        };
        if let Who::Key(key) = &caller.who {
            self.uses.count(key.id, caller.address, permission, admitted.is_ok());
        }
        admitted
    }

    async fn look_up(&self, hash: KeyHash) -> Result<Option<Arc<ApiKey>>, ApiError> {
        let Some(found) = self.store.api_key(&hash).await? else { return Ok(None) };
        let found = Arc::new(found);
        self.remembered.keep(hash, found.clone(), Instant::now());
        Ok(Some(found))
    }
}
