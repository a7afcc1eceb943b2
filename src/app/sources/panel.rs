//! Panels that tell usage over HTTP.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;

use crate::app::StartError;
use crate::config::{Config, PanelSourceConfig, header_name};
use crate::domain::{Clock, TenantId};
use crate::outgoing::TlsFiles;
use crate::source::SourceFault;
use crate::source::metrics::{SourceKind, SourceMetrics};
use crate::source::panel::{Auth, Endpoint, ListPlace, Mapping, PanelOptions, PanelSource, ResetRule, Unit};
use crate::source::readings::FirstReading;
use crate::store::Store;

use super::{Sources, tenant_of};

const KIND: SourceKind = SourceKind::Panel;

/// Looks up tenants and reads files; nothing is asked for yet.
pub(super) async fn prepare(sources: Sources<'_>) -> Result<Vec<Arc<PanelSource>>, StartError> {
    let mut made = Vec::new();
    for panel in &sources.config.source.panel {
        made.push(Arc::new(make(panel, sources.store, sources.clock, &sources.metrics.sources).await?));
    }
    Ok(made)
}

/// The panel of this name, for a command; `None` when the configuration has none.
pub(crate) async fn by_name(
    config: &Config,
    name: &str,
    store: &Store,
    clock: Clock,
) -> Result<Option<PanelSource>, StartError> {
    let Some(panel) = config.source.panel.iter().find(|panel| panel.name == name) else { return Ok(None) };
    rustls::crypto::ring::default_provider().install_default().ok();
    make(panel, store, clock, &SourceMetrics::default()).await.map(Some)
}

async fn make(
    panel: &PanelSourceConfig,
    store: &Store,
    clock: Clock,
    metrics: &SourceMetrics,
) -> Result<PanelSource, StartError> {
    let failed =
        |fault: SourceFault| StartError::Source { kind: KIND.as_str(), name: panel.name.clone(), fault };
    let tenant = tenant_of(store, KIND.as_str(), &panel.name, &panel.tenant).await?;
    let state = metrics.source(KIND, &panel.name, clock);
    PanelSource::new(options(panel, tenant), store.clone(), clock, state).map_err(failed)
}

fn options(panel: &PanelSourceConfig, tenant: TenantId) -> PanelOptions {
    const CHECKED: &str = "checked when the configuration was loaded";
    let unit = |name: &str| Unit::parse(name, panel.unit_base).expect(CHECKED);
    let file = panel.auth_file.clone();
    PanelOptions {
        endpoint: Endpoint::parse(&panel.url).expect(CHECKED),
        auth: match panel.auth.as_str() {
            "bearer" => Auth::Bearer(file),
            "basic" => Auth::Basic(file),
            "header" => Auth::Header(header_name(&panel.auth_header).expect(CHECKED), file),
            _ => Auth::None,
        },
        list: (!panel.account.is_empty())
            .then(|| ListPlace { list: panel.list.clone(), account: panel.account.clone() }),
        accounts: panel.accounts.clone(),
        mapping: Mapping {
            total: panel.total.clone(),
            upload: panel.upload.clone(),
            download: panel.download.clone(),
            used: panel.used.clone(),
            unit: unit(&panel.unit),
            used_unit: unit(&panel.used_unit),
        },
        reset: ResetRule {
            below_percent: panel.reset_below_percent,
            stale: TimeDelta::minutes(panel.stale_minutes.into()),
        },
        first: match panel.first_reading.as_str() {
            "counts" => FirstReading::Counts,
            _ => FirstReading::IsTheBase,
        },
        tenant,
        timeout: Duration::from_secs(panel.timeout_seconds),
        retry_first: Duration::from_millis(panel.retry_first_ms),
        max_response_bytes: panel.max_response_bytes,
        max_concurrent: panel.max_concurrent,
        max_accounts: panel.max_accounts,
        tls: TlsFiles { ca: panel.ca_file.clone(), ..TlsFiles::default() },
    }
}
