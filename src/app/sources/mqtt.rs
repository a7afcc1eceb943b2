//! Brokers of others.

use std::sync::Arc;
use std::time::Duration;

use crate::app::StartError;
use crate::config::MqttSourceConfig;
use crate::domain::TenantId;
use crate::ingest::topics::UsageTopics;
use crate::outgoing::TlsFiles;
use crate::source::SourceFault;
use crate::source::metrics::SourceKind;
use crate::source::mqtt::{Address, MqttSource, MqttSourceOptions, Version};

use super::Sources;

const KIND: SourceKind = SourceKind::Mqtt;

/// Looks up tenants and reads files; nothing is connected yet.
pub(super) async fn prepare(sources: Sources<'_>) -> Result<Vec<Arc<MqttSource>>, StartError> {
    let config = &sources.config.source;
    let mut made = Vec::new();
    for source in &config.mqtt {
        let failed = |fault| StartError::Source { kind: KIND.as_str(), name: source.name.clone(), fault };
        let tenant = sources.tenant(KIND.as_str(), &source.name, &source.tenant).await?;
        let options = options(source, config.client_id(source), tenant).map_err(failed)?;
        let state = sources.metrics.sources.source(KIND, &source.name, sources.clock);
        made.push(Arc::new(MqttSource::new(options, state).map_err(failed)?));
    }
    Ok(made)
}

fn options(
    source: &MqttSourceConfig,
    client_id: String,
    tenant: TenantId,
) -> Result<MqttSourceOptions, SourceFault> {
    let address = Address::parse(&source.url).expect("checked when the configuration was loaded");
    Ok(MqttSourceOptions {
        login: login(source, &address)?,
        address,
        version: if source.version == 5 { Version::V5 } else { Version::V311 },
        topics: UsageTopics::parse(&source.topics).expect("checked when the configuration was loaded"),
        share_group: source.share_group.clone(),
        tenant,
        tenant_name: source.tenant.clone(),
        may_correct: source.may_correct,
        client_id,
        in_flight: source.in_flight,
        backlog_max_bytes: source.backlog_max_bytes,
        max_packet_bytes: source.max_packet_bytes,
        keep_alive: Duration::from_secs(source.keep_alive_seconds.into()),
        session_expiry_seconds: source.session_expiry_seconds,
        connect_timeout: Duration::from_secs(source.connect_timeout_seconds),
        tls: TlsFiles {
            ca: source.ca_file.clone(),
            certificate: source.certificate_file.clone(),
            key: source.key_file.clone(),
        },
        reconnect_first: Duration::from_millis(source.reconnect_first_ms),
        reconnect_longest: Duration::from_millis(source.reconnect_longest_ms),
    })
}

/// What is stated by itself goes before what the address holds.
fn login(source: &MqttSourceConfig, address: &Address) -> Result<Option<(String, String)>, SourceFault> {
    let stated = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let mut password = stated(&source.password).or_else(|| address.password.clone());
    let path = &source.password_file;
    if !path.as_os_str().is_empty() {
        let text = std::fs::read_to_string(path).map_err(|cause| SourceFault {
            key: "password_file",
            problem: format!("{}: {cause}", path.display()),
        })?;
        password = Some(text.trim_end().to_owned());
    }
    let username = stated(&source.username).or_else(|| address.username.clone());
    Ok(username.map(|username| (username, password.unwrap_or_default())))
}
