use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::super::Hub;
use super::super::auth::{BoxFuture, LookupError};
use super::super::registry::Dismissal;
use super::Principal;

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
    hub: Weak<Hub>,
    every: Duration,
}

impl LoginWatch {
    pub(in super::super) fn new(hub: &Arc<Hub>) -> Self {
        let every = Duration::from_millis(hub.config.acl.check_milliseconds);
        Self { hub: Arc::downgrade(hub), every }
    }

    /// Runs until `stop`, or until the broker is gone.
    pub async fn run(self, checks: LoginChecks, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut seen, mut failing) = (None, false);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let Some(hub) = self.hub.upgrade() else { return };
            let Some(looked) = stop.run_until_cancelled(look(&hub, &checks, &mut seen)).await else { return };
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
}

async fn look(hub: &Hub, checks: &LoginChecks, seen: &mut Option<i64>) -> Result<(), LookupError> {
    let version = (checks.version)().await?;
    if *seen == Some(version) && !hub.registry.has_unchecked() {
        return Ok(());
    }
    // Not before everything was compared: after a failure the next look compares again.
    *seen = None;
    let mut live = hub.registry.begin_check();
    live.sort_unstable_by(|(_, a), (_, b)| a.principal.cmp(&b.principal));
    let mut principals: Vec<Principal> = live.iter().map(|(_, login)| login.principal.clone()).collect();
    principals.dedup();
    let mut current = HashMap::with_capacity(principals.len());
    for chunk in principals.chunks(CHUNK) {
        current.extend((checks.revisions)(chunk.to_vec()).await?);
    }
    for (client, login) in live {
        let why = match current.get(&login.principal) {
            Some(revision) if *revision == login.revision => continue,
            Some(_) => Dismissal::LoginChanged,
            None => Dismissal::LoginRevoked,
        };
        hub.registry.dismiss(&client, &login, why);
    }
    *seen = Some(version);
    Ok(())
}
