//! Accounting of others.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;

use crate::app::StartError;
use crate::config::RadiusSourceConfig;
use crate::domain::TenantId;
use crate::shutdown::{Hangups, vital};
use crate::source::metrics::SourceKind;
use crate::source::radius::{ClientOptions, RadiusOptions, RadiusSource, reload_at_hangups};

use super::Sources;

const KIND: SourceKind = SourceKind::Radius;
const CHECKED: &str = "checked when the configuration was loaded";

/// Looks up tenants, reads secrets and binds sockets; secrets are read again at SIGHUP.
pub(super) async fn prepare(
    sources: Sources<'_>,
    tasks: &TaskTracker,
) -> Result<Vec<Arc<RadiusSource>>, StartError> {
    let mut made = Vec::new();
    for source in &sources.config.source.radius {
        let failed = |fault| StartError::Source { kind: KIND.as_str(), name: source.name.clone(), fault };
        let tenant = sources.tenant(KIND.as_str(), &source.name, &source.tenant).await?;
        let state = sources.metrics.sources.source(KIND, &source.name, sources.clock);
        let counts = sources.metrics.sources.radius.of(&source.name);
        let (store, clock) = (sources.store.clone(), sources.clock);
        let bound = RadiusSource::bind(options(source, tenant), state, counts, store, clock).await;
        made.push(Arc::new(bound.map_err(failed)?));
    }
    if !made.is_empty() {
        let hangups = Hangups::new().map_err(StartError::Signals)?;
        let reloading = reload_at_hangups(made.clone(), hangups, sources.stops[0].clone());
        tasks.spawn(vital("secrets of RADIUS", reloading));
    }
    Ok(made)
}

fn options(source: &RadiusSourceConfig, tenant: TenantId) -> RadiusOptions {
    let clients = source.clients.iter().map(|client| ClientOptions {
        name: client.name.clone(),
        addresses: client.addresses.iter().map(|text| text.parse().expect(CHECKED)).collect(),
        secret_file: client.secret_file.clone(),
    });
    RadiusOptions {
        listen: source.listen.parse().expect(CHECKED),
        tenant,
        clients: clients.collect(),
        account: source.account.iter().map(|name| name.parse().expect(CHECKED)).collect(),
        max_waiting_requests: source.max_waiting_requests,
        batch_max_requests: source.batch_max_requests,
        duplicates_max_age: Duration::from_secs(source.duplicates_max_age_seconds),
        duplicates_max_requests: source.duplicates_max_requests,
    }
}
