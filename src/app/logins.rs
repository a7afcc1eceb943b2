//! Where the broker's logins stand: users and API keys of the database.

use std::collections::HashMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::hash_key;
use crate::broker::Broker;
use crate::broker::acl::{LoginChecks, Principal};
use crate::broker::auth::{Access, Authenticator, KeyLookup, Lookup, LookupError};
use crate::broker::credential::{Credential, KeyCredential};
use crate::config::Config;
use crate::domain::Permission;
use crate::shutdown::vital;
use crate::store::{Store, StoreError};

use super::{DEFAULT_TENANT, StartError};

fn unavailable(error: StoreError) -> LookupError {
    LookupError(error.to_string())
}

pub(super) fn access(config: &Config, open: bool, store: &Store) -> Result<Access, StartError> {
    if config.mqtt.anonymous || open {
        let (tenant, name) = DEFAULT_TENANT;
        return Ok(Access::Anonymous { tenant, tenant_name: name.into() });
    }
    Ok(Access::Password(
        Authenticator::new(users(store.clone()), &config.mqtt)?.with_keys(keys(store.clone())),
    ))
}

fn users(store: Store) -> Lookup {
    Arc::new(move |username| {
        let store = store.clone();
        Box::pin(async move {
            let found = store.mqtt_credential(&username).await.map_err(unavailable)?;
            Ok(found.map(|found| Credential {
                password_hash: found.password_hash,
                tenant: found.tenant,
                tenant_name: found.tenant_name,
                may_correct: found.may_correct,
                enabled: found.enabled,
                iccid: found.iccid,
                publish: found.publish,
                subscribe: found.subscribe,
                revision: found.revision,
            }))
        })
    })
}

fn keys(store: Store) -> KeyLookup {
    Arc::new(move |key| {
        let store = store.clone();
        Box::pin(async move {
            let found = store.api_key(&hash_key(&key)).await.map_err(unavailable)?;
            Ok(found.map(|found| KeyCredential {
                id: found.id,
                may_send_usage: found.may(Permission::UsageWrite),
                may_correct: found.may(Permission::UsageCorrect),
                may_publish: found.may(Permission::MqttPublish),
                may_subscribe: found.may(Permission::MqttSubscribe),
                name: found.name,
                tenant: found.tenant,
                tenant_name: found.tenant_name,
                enabled: found.enabled,
                revision: found.revision,
            }))
        })
    })
}

/// Ends connections of logins that were revoked or changed, where there are logins.
pub(super) fn spawn_watch(broker: &Broker, store: &Store, tasks: &TaskTracker, stop: &CancellationToken) {
    if let Some(watch) = broker.login_watch() {
        tasks.spawn(vital("logins", watch.run(checks(store), stop.clone())));
    }
}

fn checks(store: &Store) -> LoginChecks {
    let (versions, logins) = (store.clone(), store.clone());
    LoginChecks {
        version: Arc::new(move || {
            let store = versions.clone();
            Box::pin(async move { store.login_version().await.map_err(unavailable) })
        }),
        revisions: Arc::new(move |asked| {
            let store = logins.clone();
            Box::pin(async move { revisions(&store, &asked).await.map_err(unavailable) })
        }),
    }
}

async fn revisions(store: &Store, asked: &[Principal]) -> Result<HashMap<Principal, i64>, StoreError> {
    let (mut users, mut keys) = (Vec::new(), Vec::new());
    for principal in asked {
        match principal {
            Principal::User(name) => users.push(&**name),
            Principal::Key(id) => keys.push(*id),
            Principal::Anonymous => {}
        }
    }
    let mut current = HashMap::with_capacity(asked.len());
    if !users.is_empty() {
        let found = store.user_revisions(&users).await?;
        current.extend(found.into_iter().map(|(name, revision)| (Principal::User(name.into()), revision)));
    }
    if !keys.is_empty() {
        let found = store.key_revisions(&keys).await?;
        current.extend(found.into_iter().map(|(id, revision)| (Principal::Key(id), revision)));
    }
    Ok(current)
}
