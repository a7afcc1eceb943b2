//! OpenVPN servers.

use std::sync::Arc;
use std::time::Duration;

use crate::app::StartError;
use crate::config::OpenVpnSourceConfig;
use crate::domain::TenantId;
use crate::source::SourceFault;
use crate::source::metrics::SourceKind;
use crate::source::openvpn::{
    AccountName, ManagementAddress, OpenVpnOptions, OpenVpnSource, StatusFrom, Zone,
};

use super::Sources;

const KIND: SourceKind = SourceKind::OpenVpn;

/// Looks up tenants and reads passwords; no server is asked yet.
pub(super) async fn prepare(sources: Sources<'_>) -> Result<Vec<Arc<OpenVpnSource>>, StartError> {
    let mut made = Vec::new();
    for source in &sources.config.source.openvpn {
        let tenant = sources.tenant(KIND.as_str(), &source.name, &source.tenant).await?;
        let options = options(source, tenant).map_err(|fault| StartError::Source {
            kind: KIND.as_str(),
            name: source.name.clone(),
            fault,
        })?;
        let state = sources.metrics.sources.source(KIND, &source.name, sources.clock);
        made.push(Arc::new(OpenVpnSource::new(options, sources.store.clone(), sources.clock, state)));
    }
    Ok(made)
}

fn options(source: &OpenVpnSourceConfig, tenant: TenantId) -> Result<OpenVpnOptions, SourceFault> {
    let status = if source.management.is_empty() {
        StatusFrom::File(source.status_file.clone())
    } else {
        let address =
            ManagementAddress::parse(&source.management).expect("checked when the configuration was loaded");
        StatusFrom::Management { address, password: password(source)? }
    };
    Ok(OpenVpnOptions {
        status,
        account: AccountName::parse(&source.account).expect("checked when the configuration was loaded"),
        time_zone: Zone::parse(&source.time_zone).expect("checked when the configuration was loaded"),
        tenant,
        interval: Duration::from_secs(source.interval_seconds),
        stale_after: Duration::from_secs(source.stale_after_seconds),
        timeout: Duration::from_secs(source.timeout_seconds),
        status_max_bytes: source.status_max_bytes,
        sessions_max: source.sessions_max,
    })
}

/// The first line of the file, as OpenVPN itself reads it.
fn password(source: &OpenVpnSourceConfig) -> Result<Option<String>, SourceFault> {
    let path = &source.password_file;
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(path).map_err(|cause| SourceFault {
        key: "password_file",
        problem: format!("{}: {cause}", path.display()),
    })?;
    Ok(Some(text.lines().next().unwrap_or_default().to_owned()))
}
