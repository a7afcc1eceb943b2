use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::AclConfig;

use super::super::auth::{BoxFuture, LookupError};
use super::super::registry::{ClientKey, Dismissal, Registry};
use super::{Login, Principal};

/// Logins that are asked for at a time.
const CHUNK: usize = 1000;

/// What is stored of logins now.
#[derive(Clone)]
pub struct LoginChecks {
    /// A number that moves, in the order of commits, with every change of any login.
    pub version: Arc<dyn Fn() -> BoxFuture<'static, Result<i64, LookupError>> + Send + Sync>,
    /// Revisions of those of these logins that may connect.
    pub revisions: Arc<dyn Fn(Vec<Principal>) -> BoxFuture<'static, Found> + Send + Sync>,
}

type Found = Result<HashMap<Principal, i64>, LookupError>;

/// Ends the connections of logins that were revoked or changed. A row is read every so often instead of listening for
/// notifications, which a pooler in transaction mode does not pass on.
pub struct LoginWatch {
    /// Held only between two questions: who waits for the database must not keep a broker that has ended.
    registry: Weak<Registry>,
    every: Duration,
}

impl LoginWatch {
    pub(in super::super) fn new(registry: &Arc<Registry>, config: &AclConfig) -> Self {
        let every = Duration::from_millis(config.check_milliseconds);
        Self { registry: Arc::downgrade(registry), every }
    }

    /// Runs until `stop`, or until the broker is gone.
    pub async fn run(self, checks: LoginChecks, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut seen, mut failing) = (None, false);
        while self.registry.strong_count() > 0 && stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let Some(looked) = stop.run_until_cancelled(self.look(&checks, &mut seen)).await else { return };
            match &looked {
                Err(error) if !failing => {
                    warn!(%error, "logins cannot be checked; revoked ones stay until they can");
                }
                Ok(()) if failing => info!("logins are checked again"),
                _ => {}
            }
            failing = looked.is_err();
        }
    }

    async fn look(&self, checks: &LoginChecks, seen: &mut Option<i64>) -> Result<(), LookupError> {
        let version = (checks.version)().await?;
        let Some(mut live) = self.to_compare(*seen == Some(version)) else { return Ok(()) };
        // Not before everything was compared: after a failure the next look compares again.
        *seen = None;
        live.sort_unstable_by(|(_, a), (_, b)| a.principal.cmp(&b.principal));
        let mut principals: Vec<Principal> = live.iter().map(|(_, login)| login.principal.clone()).collect();
        principals.dedup();
        let mut current = HashMap::with_capacity(principals.len());
        for chunk in principals.chunks(CHUNK) {
            current.extend((checks.revisions)(chunk.to_vec()).await?);
        }
        let Some(registry) = self.registry.upgrade() else { return Ok(()) };
        for (client, login) in live {
            let why = match current.get(&login.principal) {
                Some(revision) if *revision == login.revision => continue,
                Some(_) => Dismissal::LoginChanged,
                None => Dismissal::LoginRevoked,
            };
            registry.dismiss(&client, &login, why);
        }
        *seen = Some(version);
        Ok(())
    }

    /// Everybody who is connected; `None` when nothing can have changed for them.
    fn to_compare(&self, unchanged: bool) -> Option<Vec<(ClientKey, Login)>> {
        let registry = self.registry.upgrade()?;
        (!unchanged || registry.has_unchecked()).then(|| registry.begin_check())
    }
}
