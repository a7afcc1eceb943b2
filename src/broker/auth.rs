//! Who a client is. API keys are found by their hash. Passwords are kept as argon2id hashes, whose verification is slow
//! on purpose: it runs beside the connections, a few at a time, and a success is remembered for a short while so that a
//! fleet can reconnect at once.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use sha2::{Digest, Sha256};
use thiserror::Error;
use tokio::sync::Semaphore;

use crate::config::mqtt::MqttConfig;
use crate::domain::{API_KEY_PREFIX, TenantId};

use super::acl::{Grant, Login};
use super::credential::{Credential, Identity, KeyCredential};

/// A future that can be kept in a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Finds the credential of a user name.
pub type Lookup =
    Arc<dyn Fn(String) -> BoxFuture<'static, Result<Option<Credential>, LookupError>> + Send + Sync>;

/// Finds the API key that was sent as a password.
pub type KeyLookup =
    Arc<dyn Fn(String) -> BoxFuture<'static, Result<Option<KeyCredential>, LookupError>> + Send + Sync>;

/// Longer than any key.
const KEY_MAX_BYTES: usize = 200;

/// Credentials cannot be read now; the client should try again.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("credentials are temporarily unavailable: {0}")]
pub struct LookupError(pub String);

/// The system gave no random salt, or argon2 refused its parameters.
#[derive(Debug, Error)]
#[error("cannot hash the password: {0}")]
pub struct HashError(String);

/// Who may connect.
#[derive(Clone)]
pub enum Access {
    /// Everyone, as this tenant.
    Anonymous { tenant: TenantId, tenant_name: String },
    /// Whoever proves a stored credential.
    Password(Authenticator),
}

/// Why a login was refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) enum LoginError {
    #[error("bad user name or password")]
    BadLogin,
    #[error("the API key has none of the permissions usage:write, mqtt:publish and mqtt:subscribe")]
    NoPermission,
    #[error(transparent)]
    Unavailable(#[from] LookupError),
}

impl Access {
    /// `login` is the user name and password of CONNECT, if it had any; `checks` the password checks that its address may have at
    /// once.
    pub(super) async fn identify(
        &self,
        login: Option<(String, String)>,
        checks: Option<&Semaphore>,
    ) -> Result<Identity, LoginError> {
        match (self, login) {
            (Self::Anonymous { tenant, tenant_name }, _) => Ok(Identity {
                tenant: *tenant,
                tenant_name: tenant_name.clone(),
                may_correct: false,
                login: Login::default(),
                grant: Grant::Open,
            }),
            (Self::Password(authenticator), Some((username, password))) => {
                authenticator.verify(username, password, checks).await
            }
            (Self::Password(_), None) => Err(LoginError::BadLogin),
        }
    }

    /// `name` was proved by a certificate.
    pub(super) async fn identify_certified(&self, name: &str) -> Result<Identity, LoginError> {
        match self {
            Self::Anonymous { .. } => self.identify(None, None).await,
            Self::Password(authenticator) => authenticator.known(name).await,
        }
    }
}

/// An argon2id hash in PHC format, for storing a password.
///
/// # Errors
/// [`HashError`] when the system has no randomness to offer.
pub fn hash_password(password: &str) -> Result<String, HashError> {
    let hash: PasswordHash =
        Argon2::default().hash_password(password.as_bytes()).map_err(|error| HashError(error.to_string()))?;
    Ok(hash.to_string())
}

/// Verifies passwords.
#[derive(Clone)]
pub struct Authenticator {
    lookup: Lookup,
    keys: Option<KeyLookup>,
    checks: Arc<Semaphore>,
    verified: Arc<Mutex<Verified>>,
    /// Verified against when there is no such user, so that the answer takes as long.
    dummy_hash: Arc<str>,
}

impl Authenticator {
    /// # Errors
    /// [`HashError`] when the hash that stands in for unknown users cannot be made.
    pub fn new(lookup: Lookup, config: &MqttConfig) -> Result<Self, HashError> {
        let verified = Verified {
            until: HashMap::new(),
            lifetime: Duration::from_secs(config.password_cache_seconds),
            capacity: config.password_cache_entries,
        };
        Ok(Self {
            lookup,
            keys: None,
            checks: Arc::new(Semaphore::new(config.password_checks_at_once)),
            verified: Arc::new(Mutex::new(verified)),
            dummy_hash: hash_password("no user has this password")?.into(),
        })
    }

    /// API keys are taken as passwords too, whatever the user name.
    #[must_use]
    pub fn with_keys(self, keys: KeyLookup) -> Self {
        Self { keys: Some(keys), ..self }
    }

    async fn verify(
        &self,
        username: String,
        password: String,
        of_address: Option<&Semaphore>,
    ) -> Result<Identity, LoginError> {
        if let Some(keys) = &self.keys
            // Passwords are not looked up among keys.
            && password.starts_with(API_KEY_PREFIX)
            && password.len() <= KEY_MAX_BYTES
            && let Some(key) = keys(password.clone()).await?
        {
            // 256 random bits need no slow hash.
            return key.identity();
        }
        let credential = (self.lookup)(username.clone()).await?;
        let hash = match &credential {
            Some(credential) => credential.password_hash.as_str(),
            None => &self.dummy_hash,
        };
        let proof = proof(&username, &password, hash);
        let mut matches = self.verified(|verified| verified.contains(&proof, Instant::now()));
        if !matches {
            // The line before the checks is one for all, and each address stands in it a few times only.
            let _turn = match of_address {
                Some(checks) => checks.acquire().await.ok(),
                None => None,
            };
            matches = self.check(password, hash.to_owned()).await;
            // Only successes are remembered: a guess must cost the same each time.
            if matches && credential.is_some() {
                self.verified(|verified| verified.insert(proof, Instant::now()));
            }
        }
        credential.filter(|_| matches).map_or(Err(LoginError::BadLogin), |found| found.enabled(&username))
    }

    /// The user without its password.
    async fn known(&self, username: &str) -> Result<Identity, LoginError> {
        let credential = (self.lookup)(username.to_owned()).await?;
        credential.map_or(Err(LoginError::BadLogin), |found| found.enabled(username))
    }

    async fn check(&self, password: String, hash: String) -> bool {
        // The semaphore is never closed; without a permit nothing is verified.
        let Ok(_permit) = self.checks.acquire().await else { return false };
        let check = move || PasswordHash::new(&hash).is_ok_and(|hash| verify_hash(&password, &hash));
        tokio::task::spawn_blocking(check).await.unwrap_or(false)
    }

    fn verified<T>(&self, act: impl FnOnce(&mut Verified) -> T) -> T {
        // A panic while the lock was held can at worst have left an entry out.
        act(&mut self.verified.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn verify_hash(password: &str, hash: &PasswordHash) -> bool {
    Argon2::default().verify_password(password.as_bytes(), hash).is_ok()
}

/// Covers the stored hash too, so that a changed password invalidates what was remembered.
fn proof(username: &str, password: &str, stored_hash: &str) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in [username, password, stored_hash] {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

/// Logins that were verified a short while ago.
struct Verified {
    until: HashMap<[u8; 32], Instant>,
    lifetime: Duration,
    capacity: usize,
}

impl Verified {
    fn contains(&self, proof: &[u8; 32], now: Instant) -> bool {
        self.until.get(proof).is_some_and(|until| *until > now)
    }

    fn insert(&mut self, proof: [u8; 32], now: Instant) {
        if self.until.len() >= self.capacity {
            self.until.retain(|_, until| *until > now);
        }
        if self.until.len() < self.capacity {
            self.until.insert(proof, now + self.lifetime);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::broker::acl::Principal;

    fn credential(password: &str) -> Credential {
        Credential {
            password_hash: hash_password(password).unwrap(),
            tenant: TenantId(7),
            tenant_name: "acme".into(),
            may_correct: true,
            enabled: true,
            iccid: None,
            publish: None,
            subscribe: None,
            revision: 1,
        }
    }

    fn authenticator(found: Result<Option<Credential>, LookupError>) -> Authenticator {
        let lookup: Lookup = Arc::new(move |_| {
            let found = found.clone();
            Box::pin(async move { found })
        });
        Authenticator::new(lookup, &MqttConfig::default()).unwrap()
    }

    async fn log_in(authenticator: &Authenticator, password: &str) -> Result<Identity, LoginError> {
        authenticator.verify("device".into(), password.into(), None).await
    }

    #[tokio::test]
    async fn the_right_password_gives_the_identity_and_a_wrong_one_does_not() {
        let authenticator = authenticator(Ok(Some(credential("secret"))));
        let identity = log_in(&authenticator, "secret").await.unwrap();
        assert_eq!((identity.tenant, identity.tenant_name.as_str()), (TenantId(7), "acme"));
        assert!(identity.may_correct);
        assert_eq!(log_in(&authenticator, "Secret").await, Err(LoginError::BadLogin));
    }

    #[tokio::test]
    async fn an_unknown_user_and_a_disabled_one_are_refused_alike() {
        assert_eq!(log_in(&authenticator(Ok(None)), "secret").await, Err(LoginError::BadLogin));
        // The password of the stand-in hash opens nothing either.
        assert_eq!(
            log_in(&authenticator(Ok(None)), "no user has this password").await,
            Err(LoginError::BadLogin)
        );
        let disabled = Credential { enabled: false, ..credential("secret") };
        assert_eq!(log_in(&authenticator(Ok(Some(disabled))), "secret").await, Err(LoginError::BadLogin));
    }

    #[tokio::test]
    async fn credentials_that_cannot_be_read_are_no_bad_login() {
        let down = LookupError("no database".into());
        let refused = log_in(&authenticator(Err(down.clone())), "secret").await;
        assert_eq!(refused, Err(LoginError::Unavailable(down)));
    }

    #[tokio::test]
    async fn a_changed_password_invalidates_what_was_remembered() {
        let stored = Arc::new(Mutex::new(credential("old")));
        let lookups = Arc::new(AtomicUsize::new(0));
        let (read, count) = (stored.clone(), lookups.clone());
        let lookup: Lookup = Arc::new(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            let found = read.lock().unwrap().clone();
            Box::pin(async move { Ok(Some(found)) })
        });
        let authenticator = Authenticator::new(lookup, &MqttConfig::default()).unwrap();
        log_in(&authenticator, "old").await.unwrap();
        assert_eq!(authenticator.verified(|v| v.until.len()), 1);
        log_in(&authenticator, "old").await.unwrap();
        *stored.lock().unwrap() = credential("new");
        assert_eq!(log_in(&authenticator, "old").await, Err(LoginError::BadLogin));
        assert_eq!(lookups.load(Ordering::Relaxed), 3, "a disabled user is noticed at once");
    }

    /// Catches guesses of one address that fill the line before the checks of everybody.
    #[tokio::test]
    async fn an_address_stands_in_the_line_for_checks_so_many_times_only() {
        let authenticator = Authenticator {
            checks: Arc::new(Semaphore::new(1)),
            ..authenticator(Ok(Some(credential("secret"))))
        };
        log_in(&authenticator, "secret").await.unwrap();
        let busy = Semaphore::new(0);
        let guess = |checks| authenticator.verify("device".into(), "guess".into(), checks);
        tokio::select! {
            biased;
            _ = guess(Some(&busy)) => panic!("it did not wait for its turn"),
            refused = guess(None) => assert_eq!(refused, Err(LoginError::BadLogin)),
        }
        // Who was verified a short while ago needs no check.
        assert!(authenticator.verify("device".into(), "secret".into(), Some(&busy)).await.is_ok());
    }

    fn key() -> KeyCredential {
        KeyCredential {
            id: 3,
            name: "gateway".into(),
            tenant: TenantId(9),
            tenant_name: "nine".into(),
            enabled: true,
            may_send_usage: false,
            may_correct: true,
            may_publish: false,
            may_subscribe: true,
            revision: 1,
        }
    }

    fn with_key(found: KeyCredential) -> Authenticator {
        authenticator(Ok(Some(credential("secret")))).with_keys(Arc::new(move |password| {
            let found = (password == "mqs_right").then(|| found.clone());
            Box::pin(async move { Ok(found) })
        }))
    }

    #[tokio::test]
    async fn a_key_is_a_password_for_every_user_name() {
        let authenticator = with_key(key());
        for username in ["", "device", "whoever"] {
            let identity = authenticator.verify(username.into(), "mqs_right".into(), None).await.unwrap();
            assert_eq!((identity.tenant, identity.login.principal), (TenantId(9), Principal::Key(3)));
            assert!(identity.may_correct);
        }
        assert_eq!(log_in(&authenticator, "mqs_wrong").await, Err(LoginError::BadLogin));
        assert!(matches!(
            log_in(&authenticator, "secret").await.unwrap().login.principal,
            Principal::User(_)
        ));
    }

    #[tokio::test]
    async fn a_key_that_was_revoked_or_has_no_permission_here_opens_nothing() {
        let revoked = with_key(KeyCredential { enabled: false, ..key() });
        assert_eq!(log_in(&revoked, "mqs_right").await, Err(LoginError::BadLogin));
        let reader = with_key(KeyCredential { may_subscribe: false, ..key() });
        assert_eq!(log_in(&reader, "mqs_right").await, Err(LoginError::NoPermission));
    }

    #[test]
    fn remembered_logins_expire_and_are_bounded() {
        let now = Instant::now();
        let mut verified = Verified { until: HashMap::new(), lifetime: Duration::from_secs(60), capacity: 2 };
        verified.insert([1; 32], now);
        verified.insert([2; 32], now);
        verified.insert([3; 32], now);
        assert!(verified.contains(&[1; 32], now) && !verified.contains(&[3; 32], now));
        let later = now + Duration::from_secs(61);
        assert!(!verified.contains(&[1; 32], later));
        verified.insert([3; 32], later);
        assert!(verified.contains(&[3; 32], later));
    }
}
