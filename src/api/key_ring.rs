//! API keys: looked up by the SHA-256 of the whole key, remembered for a few seconds.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::RngExt;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::domain::{Permission, PermissionPattern, TenantId};
use crate::store::Store;
use crate::store::api_keys::{ApiKey, KeyHash};

use super::caller::{Caller, Who};
use super::error::ApiError;
use super::rate_limit::{LimitClass, RateLimits, Standing};

/// What existing simulators send unless they are told otherwise; accepted in demo mode only (contract §3).
pub const DEMO_KEY: &str = "test_provisioning_key_12345";
const DEMO_KEY_PERMISSIONS: [PermissionPattern; 3] = [
    PermissionPattern::Category("usage"),
    PermissionPattern::Category("sims"),
    PermissionPattern::One(Permission::ConsumptionRead),
];
const NOBODY_PERMISSIONS: [PermissionPattern; 4] = [
    PermissionPattern::One(Permission::UsageRead),
    PermissionPattern::One(Permission::SimsRead),
    PermissionPattern::One(Permission::ConsumptionRead),
    PermissionPattern::One(Permission::AdminSettings),
];
/// A revoked key is refused after so long at the latest.
const REMEMBER_FOR: Duration = Duration::from_secs(5);
/// Keys remembered at once.
const REMEMBER_AT_MOST: usize = 10_000;
/// Longer than any key; what is longer is not even hashed.
const KEY_MAX_BYTES: usize = 200;

/// A new key: `mqs_` and 256 random bits.
pub fn make_key() -> String {
    let secret: [u8; 32] = rand::rng().random();
    format!("mqs_{}", URL_SAFE_NO_PAD.encode(secret))
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
    /// By the hash of the key, so that how long a look takes says nothing about a key.
    remembered: Mutex<HashMap<KeyHash, (Arc<ApiKey>, Instant)>>,
}

impl KeyRing {
    pub(crate) fn new(store: Store, demo: Option<TenantId>, limits: RateLimits) -> Self {
        Self { store, demo, limits, remembered: Mutex::default() }
    }

    /// Who presents this key.
    ///
    /// # Errors
    /// [`ApiError::Unauthorized`], [`ApiError::KeyDisabled`], or an outage.
    pub(crate) async fn verify(&self, key: &str, address: IpAddr) -> Result<Caller, ApiError> {
        if key.len() > KEY_MAX_BYTES {
            return Err(ApiError::Unauthorized);
        }
        let hash = hash_key(key);
        if let Some(tenant) = self.demo.filter(|_| hash == hash_key(DEMO_KEY)) {
            return Ok(Caller { tenant, who: Who::Demo("demo", &DEMO_KEY_PERMISSIONS), address });
        }
        let found = match self.recall(&hash) {
            Some(found) => found,
            None => self.look_up(hash).await?.ok_or(ApiError::Unauthorized)?,
        };
        if !found.enabled {
            return Err(ApiError::KeyDisabled);
        }
        Ok(Caller { tenant: found.tenant, who: Who::Key(found), address })
    }

    /// Somebody without a key, in demo mode.
    pub(crate) fn nobody(&self, address: IpAddr) -> Caller {
        let tenant = self.demo.expect("asked for in demo mode only");
        Caller { tenant, who: Who::Demo("nobody", &NOBODY_PERMISSIONS), address }
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
        if !caller.may(permission) {
            return Err(ApiError::Missing(permission));
        }
        self.limits.check(caller, class, standing)
    }

    fn recall(&self, hash: &KeyHash) -> Option<Arc<ApiKey>> {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let (key, at) = remembered.get(hash)?;
        (at.elapsed() < REMEMBER_FOR).then(|| key.clone())
    }

    async fn look_up(&self, hash: KeyHash) -> Result<Option<Arc<ApiKey>>, ApiError> {
        let Some(found) = self.store.api_key(&hash).await? else { return Ok(None) };
        let found = Arc::new(found);
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBER_AT_MOST {
            remembered.retain(|_, (_, at)| at.elapsed() < REMEMBER_FOR);
        }
        if remembered.len() < REMEMBER_AT_MOST {
            remembered.insert(hash, (found.clone(), Instant::now()));
        }
        Ok(Some(found))
    }
}
