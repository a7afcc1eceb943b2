use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::ingest::topics::UsageTopics;
use crate::source::mqtt::Address;

use super::source_files::FilesSourceConfig;
use super::source_openvpn::OpenVpnSourceConfig;
use super::source_panel::PanelSourceConfig;
use super::source_radius::RadiusSourceConfig;

/// What brings records in beside the embedded broker and HTTP.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct SourceConfig {
    /// Number of this instance among those that share brokers; part of the default client ids.
    pub slot: u16,
    /// Brokers of others.
    pub mqtt: Vec<MqttSourceConfig>,
    /// OpenVPN servers.
    pub openvpn: Vec<OpenVpnSourceConfig>,
    /// Panels that tell usage over HTTP.
    pub panel: Vec<PanelSourceConfig>,
    /// Accounting of others.
    pub radius: Vec<RadiusSourceConfig>,
    /// Directories into which others put files.
    pub files: Vec<FilesSourceConfig>,
}

impl Default for SourceConfig {
    fn default() -> Self {
        Self {
            slot: 1,
            mqtt: Vec::new(),
            openvpn: Vec::new(),
            panel: Vec::new(),
            radius: Vec::new(),
            files: Vec::new(),
        }
    }
}

/// A broker that simbridge subscribes to.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct MqttSourceConfig {
    /// In metrics, logs, client ids and with parked records.
    pub name: String,
    /// `mqtt://`, `mqtts://`, `ws://` or `wss://`, host, and maybe user, password and port.
    pub url: String,
    pub username: String,
    pub password: String,
    /// File that holds the password.
    pub password_file: PathBuf,
    /// 5, or 3 for MQTT 3.1.1.
    pub version: u8,
    /// Patterns as in `mqtt.topics`.
    pub topics: Vec<String>,
    /// Group of a shared subscription; empty for one of its own.
    pub share_group: String,
    /// In whose name records arrive.
    pub tenant: String,
    /// Accept signed corrections.
    pub may_correct: bool,
    /// Empty for `simbridge-{name}-{slot}`.
    pub client_id: String,
    /// Unacknowledged messages at a time.
    pub in_flight: u16,
    /// Payload bytes that were read while the ingest queue was full, a fixed overhead a message included.
    pub backlog_max_bytes: usize,
    pub max_packet_bytes: u32,
    pub keep_alive_seconds: u16,
    /// How long the broker keeps the session while simbridge is away (MQTT 5).
    pub session_expiry_seconds: u32,
    /// From the TCP connection to CONNACK, and again to SUBACK.
    pub connect_timeout_seconds: u64,
    /// PEM file with the authority of the broker's certificate, beside the machine's own.
    pub ca_file: PathBuf,
    /// PEM files of a client certificate.
    pub certificate_file: PathBuf,
    pub key_file: PathBuf,
    pub reconnect_first_ms: u64,
    pub reconnect_longest_ms: u64,
}

impl Default for MqttSourceConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            url: String::new(),
            username: String::new(),
            password: String::new(),
            password_file: PathBuf::new(),
            version: 5,
            topics: [
                "simportal/sims/{iccid}/usage",
                "simportal/sims/usage/batch",
                "sim/{tenant}/{iccid}/usage",
            ]
            .map(str::to_owned)
            .into(),
            share_group: "simbridge".into(),
            tenant: "default".into(),
            may_correct: false,
            client_id: String::new(),
            in_flight: 4_000,
            backlog_max_bytes: 8 << 20,
            max_packet_bytes: 1 << 20,
            keep_alive_seconds: 30,
            session_expiry_seconds: 604_800,
            connect_timeout_seconds: 10,
            ca_file: PathBuf::new(),
            certificate_file: PathBuf::new(),
            key_file: PathBuf::new(),
            reconnect_first_ms: 500,
            reconnect_longest_ms: 30_000,
        }
    }
}

impl SourceConfig {
    /// The first setting that cannot work: its key, and what would.
    pub(super) fn fault(&self) -> Option<(String, String)> {
        if let Some(fault) = self.fault_of_names() {
            return Some(fault);
        }
        for (n, source) in self.openvpn.iter().enumerate() {
            if let Some((key, problem)) = source.fault() {
                return Some((format!("source.openvpn[{n}].{key}"), problem));
            }
        }
        for (n, source) in self.panel.iter().enumerate() {
            if let Some((key, problem)) = source.fault() {
                return Some((format!("source.panel[{n}].{key}"), problem));
            }
        }
        for (n, source) in self.mqtt.iter().enumerate() {
            if let Some((key, problem)) = source.fault() {
                return Some((format!("source.mqtt[{n}].{key}"), problem));
            }
            let same_client = |other: &&MqttSourceConfig| {
                other.url == source.url && self.client_id(other) == self.client_id(source)
            };
            if self.mqtt[..n].iter().any(|other| same_client(&other)) {
                let problem = "is that of another source of this broker, and each would throw the other out";
                return Some((format!("source.mqtt[{n}].client_id"), problem.into()));
            }
        }
        for (n, source) in self.radius.iter().enumerate() {
            if let Some((key, problem)) = source.fault() {
                return Some((format!("source.radius[{n}].{key}"), problem));
            }
            if self.radius[..n]
                .iter()
                .any(|other| other.listen == source.listen && !other.listen.ends_with(":0"))
            {
                let problem = "is that of another source".to_owned();
                return Some((format!("source.radius[{n}].listen"), problem));
            }
        }
        for (n, source) in self.files.iter().enumerate() {
            if let Some((key, problem)) = source.fault() {
                return Some((format!("source.files[{n}].{key}"), problem));
            }
            if self.files[..n].iter().any(|other| other.directory == source.directory) {
                return Some((format!("source.files[{n}].directory"), "is that of another source".into()));
            }
        }
        None
    }

    /// Names stand in metrics, logs and the database, where the kind of a source does not.
    fn fault_of_names(&self) -> Option<(String, String)> {
        let named = self.named();
        for (n, (kind, index, name)) in named.iter().enumerate() {
            let problem = if let Some(problem) = name_fault(name) {
                problem
            } else if named[..n].iter().any(|(_, _, other)| other == name) {
                format!("`{name}` stands twice")
            } else {
                continue;
            };
            return Some((format!("source.{kind}[{index}].name"), problem));
        }
        None
    }

    /// Kind, place in its list and name of every source.
    fn named(&self) -> Vec<(&'static str, usize, &str)> {
        let mqtt = self.mqtt.iter().enumerate().map(|(n, source)| ("mqtt", n, source.name.as_str()));
        let openvpn = self.openvpn.iter().enumerate().map(|(n, source)| ("openvpn", n, source.name.as_str()));
        let panel = self.panel.iter().enumerate().map(|(n, source)| ("panel", n, source.name.as_str()));
        let radius = self.radius.iter().enumerate().map(|(n, source)| ("radius", n, source.name.as_str()));
        let files = self.files.iter().enumerate().map(|(n, source)| ("files", n, source.name.as_str()));
        mqtt.chain(openvpn).chain(panel).chain(radius).chain(files).collect()
    }

    /// Names of all sources.
    pub fn names(&self) -> Vec<&str> {
        self.named().into_iter().map(|(_, _, name)| name).collect()
    }

    /// The client id by which the broker knows the session of `source` and of this instance.
    pub fn client_id(&self, source: &MqttSourceConfig) -> String {
        match source.client_id.as_str() {
            "" => format!("simbridge-{}-{}", source.name, self.slot),
            stated => stated.into(),
        }
    }
}

/// Why a name of a source, or within one, cannot be.
pub(super) fn name_fault(name: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let usable = (1..=40).contains(&name.len()) && name.chars().all(plain);
    (!usable).then(|| "must be 1 to 40 letters, digits, - or _".into())
}

impl MqttSourceConfig {
    fn fault(&self) -> Option<(&'static str, String)> {
        if let Err(fault) = Address::parse(&self.url) {
            return Some(("url", fault.to_string()));
        }
        if ![3, 5].contains(&self.version) {
            return Some(("version", "must be 5, or 3 for MQTT 3.1.1".into()));
        }
        if self.topics.is_empty() {
            return Some(("topics", "must name at least one topic".into()));
        }
        if let Err(fault) = UsageTopics::parse(&self.topics) {
            return Some(("topics", fault.to_string()));
        }
        if self.share_group.contains(['/', '+', '#']) {
            return Some(("share_group", "must not hold /, + or #".into()));
        }
        if !self.password.is_empty() && !self.password_file.as_os_str().is_empty() {
            return Some(("password_file", "is stated beside `password`; state one of them".into()));
        }
        if self.certificate_file.as_os_str().is_empty() != self.key_file.as_os_str().is_empty() {
            return Some(("certificate_file", "and `key_file` belong together".into()));
        }
        let bounds = [
            ("in_flight", u64::from(self.in_flight), 1, 65_535),
            ("backlog_max_bytes", self.backlog_max_bytes as u64, 1_024, 1 << 40),
            // The protocol's largest packet is 256 MiB - 1.
            ("max_packet_bytes", self.max_packet_bytes.into(), 1_024, 268_435_455),
            ("keep_alive_seconds", self.keep_alive_seconds.into(), 5, 65_535),
            ("connect_timeout_seconds", self.connect_timeout_seconds, 1, 300),
            ("reconnect_first_ms", self.reconnect_first_ms, 1, 600_000),
            ("reconnect_longest_ms", self.reconnect_longest_ms, self.reconnect_first_ms, 600_000),
        ];
        let broken = bounds.into_iter().find(|(_, value, least, most)| !(least..=most).contains(&value));
        broken.map(|(key, _, least, most)| (key, format!("must be from {least} to {most}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str, url: &str) -> MqttSourceConfig {
        MqttSourceConfig { name: name.into(), url: url.into(), ..MqttSourceConfig::default() }
    }

    fn fault(mqtt: Vec<MqttSourceConfig>) -> Option<String> {
        let sources = SourceConfig { slot: 2, mqtt, ..SourceConfig::default() };
        sources.fault().map(|(key, problem)| format!("{key} {problem}"))
    }

    #[test]
    fn a_name_and_an_address_suffice() {
        assert_eq!(fault(vec![source("plant", "mqtt://broker.example")]), None);
    }

    #[test]
    fn what_cannot_work_is_named_with_its_place() {
        let good = || source("a", "mqtt://a");
        let at = |mqtt| fault(mqtt).expect("a fault");
        assert!(at(vec![good(), source("b", "http://b")]).starts_with("source.mqtt[1].url "));
        assert!(at(vec![good(), source("a", "mqtt://b")]).starts_with("source.mqtt[1].name `a`"));
        let panel = vec![PanelSourceConfig { name: "a".into(), ..PanelSourceConfig::default() }];
        let both = SourceConfig { mqtt: vec![good()], panel, ..SourceConfig::default() };
        let (key, problem) = both.fault().expect("a fault");
        assert_eq!((key.as_str(), problem.as_str()), ("source.panel[0].name", "`a` stands twice"));
        let topics = MqttSourceConfig { topics: vec!["a/#".into()], ..good() };
        assert!(at(vec![topics]).starts_with("source.mqtt[0].topics "));
        let window = MqttSourceConfig { in_flight: 0, ..good() };
        assert_eq!(at(vec![window]), "source.mqtt[0].in_flight must be from 1 to 65535");
        let backoff = MqttSourceConfig { reconnect_first_ms: 60_000, ..good() };
        assert!(at(vec![backoff]).starts_with("source.mqtt[0].reconnect_longest_ms "));
    }

    /// Catches names that are compared within one kind only.
    #[test]
    fn a_name_is_one_of_all_kinds() {
        let vpn = |name: &str| OpenVpnSourceConfig {
            name: name.into(),
            status_file: "/run/openvpn/status".into(),
            ..OpenVpnSourceConfig::default()
        };
        let mut config = SourceConfig {
            mqtt: vec![source("plant", "mqtt://broker")],
            openvpn: vec![vpn("hq"), vpn("depot")],
            ..SourceConfig::default()
        };
        assert_eq!((config.fault(), config.names()), (None, vec!["plant", "hq", "depot"]));
        config.openvpn[1].name = "plant".into();
        let fault = config.fault().expect("a fault");
        assert_eq!(fault, ("source.openvpn[1].name".into(), "`plant` stands twice".into()));
        config.openvpn[1].name = "a b".into();
        assert_eq!(config.fault().expect("a fault").0, "source.openvpn[1].name");
        config.openvpn[1] = OpenVpnSourceConfig { timeout_seconds: 0, ..vpn("depot") };
        assert_eq!(config.fault().expect("a fault").0, "source.openvpn[1].timeout_seconds");
    }

    #[test]
    fn two_sources_of_a_broker_must_not_share_a_client_id() {
        let named =
            |name: &str| MqttSourceConfig { client_id: "same".into(), ..source(name, "mqtt://broker") };
        assert!(
            fault(vec![named("a"), named("b")]).expect("a fault").starts_with("source.mqtt[1].client_id")
        );
        let config = SourceConfig { slot: 2, ..SourceConfig::default() };
        assert_eq!(config.client_id(&source("a", "mqtt://broker")), "simbridge-a-2");
    }
}
