use std::net::ToSocketAddrs;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::domain::TopicRuleError;
use crate::ingest::topics::{TopicPatternError, UsageTopics};

use super::acl::AclConfig;
use super::admission::{self, AdmissionConfig, TrafficConfig};
use super::transport::{self, TlsConfig, WebSocketConfig};

/// The embedded MQTT broker: `[mqtt]`.
///
/// Every limit exists so that one client, whatever it does, cannot take memory or time from the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MqttConfig {
    /// Default true. Without it simbridge takes usage over HTTP or from another broker only.
    pub enabled: bool,
    /// Default `127.0.0.1:1883`, so that nothing is reachable from the network before someone decides so. Empty: MQTT
    /// over TLS or WebSocket only.
    pub listen: String,
    /// Default false: a client must log in. True makes every client the default tenant, for trials on one machine.
    pub anonymous: bool,
    /// Topics that carry usage. `{iccid}` names the level that holds the ICCID, `{tenant}` the one that must be the
    /// tenant of the login. All other topics are ordinary traffic between clients.
    pub topics: Vec<String>,

    /// Default 262144 (256 KB): a batch of 1000 records fits; a larger packet ends the connection (reason 0x95).
    pub max_packet_bytes: usize,
    /// Default 20000. An idle connection costs less than 10 KB; more are refused at once.
    pub max_connections: usize,
    /// Default 10 seconds from the TCP connection, or the end of its wait in `admission`, to a complete CONNECT, so that silent
    /// sockets do not fill the limit.
    pub connect_timeout_seconds: u64,
    /// Default 30 seconds without any progress in writing to a client: its network is gone or it does not read.
    pub write_stall_timeout_seconds: u64,
    /// Default 0 = the client's own value counts. Otherwise the longest keep alive that MQTT 5 clients are given.
    pub server_keep_alive_max_seconds: u16,
    /// Default 256. Longer client identifiers are refused: they are kept with every session.
    pub max_client_id_bytes: usize,

    /// Default 1000 unacknowledged QoS 1 and 2 messages of an MQTT 5 client: a window that keeps a fast publisher
    /// busy during a commit of several milliseconds.
    pub receive_maximum: u16,
    /// Default 1048576 (1 MB) of unacknowledged messages of one client, a fixed overhead a message included. Beyond
    /// it the broker stops reading from that client, which is the back-pressure that a slow database needs.
    pub max_unacked_bytes_per_connection: usize,
    /// Default 33554432 (32 MB) for messages of all clients that were read while the ingest queue was full.
    pub max_backlog_bytes: usize,
    /// Default 64 topic aliases that an MQTT 5 client may set; each keeps a topic in memory.
    pub topic_alias_maximum: u16,
    /// Default 32 levels in a topic or filter: matching takes time with their number.
    pub max_topic_levels: usize,

    /// Default 200000 subscriptions of all clients; each takes some hundred bytes.
    pub max_subscriptions: usize,
    /// Default 100 filters a client.
    pub max_subscriptions_per_client: usize,
    /// Default empty. Filters that nobody may subscribe to, compared as text.
    pub denied_subscriptions: Vec<String>,
    /// Default 100 unacknowledged messages towards a client, or fewer if it asks for fewer.
    pub max_outbound_in_flight: usize,
    /// Default 10000 messages waiting for one client, or for one group of a shared subscription. From the half on publishers wait
    /// for a client that is connected and takes what it is sent. For one that does not, or is away, QoS 0 is dropped from there
    /// on; when there is no more room the oldest give way.
    pub max_outbound_messages: usize,
    /// Default 4194304 (4 MB) waiting for one client, a fixed overhead a message included; as above.
    pub max_outbound_bytes: usize,
    /// Default 67108864 (64 MB) waiting for all clients; beyond it the oldest of whoever is sent more give way.
    pub max_outbound_bytes_in_all: usize,
    /// Default 1000 milliseconds that publishers wait for a client that takes nothing.
    pub subscriber_patience_milliseconds: u64,
    /// Default 100000 retained messages. More are delivered, but not retained.
    pub max_retained_messages: usize,
    /// Default 16777216 (16 MB) of retained topics and payloads; as above.
    pub max_retained_bytes: usize,
    /// Default 10 seconds between two publications of what the broker says about itself below `$SYS`; 0 = never.
    /// Nothing is published while nobody subscribes to it.
    pub sys_interval_seconds: u64,

    /// Default 604800 (7 days) that a session outlives its connection at most; MQTT 3.1.1 sessions live that long.
    pub session_expiry_max_seconds: u32,
    /// Default `default`: whose sessions these are in the database. Instances on one database have different names.
    pub instance_name: String,
    /// Default 20000 sessions without a connection; beyond it a session ends with its connection. Also bounds what has to be written
    /// down later while the database is away.
    pub max_parked_sessions: usize,

    /// Default 250 milliseconds before a refused login is answered, which slows guessing down.
    pub login_failure_delay_milliseconds: u64,
    /// Default 2 password checks at a time: argon2 is meant to be slow and must not take all processors.
    pub password_checks_at_once: usize,
    /// Default 60 seconds that a successful check is remembered, so that a fleet can reconnect at once.
    pub password_cache_seconds: u64,
    /// Default 10000 remembered checks.
    pub password_cache_entries: usize,

    pub admission: AdmissionConfig,
    pub traffic: TrafficConfig,
    pub acl: AclConfig,
    pub tls: TlsConfig,
    pub websocket: WebSocketConfig,
}

impl Default for MqttConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: "127.0.0.1:1883".into(),
            anonymous: false,
            topics: vec![
                "simportal/sims/{iccid}/usage".into(),
                "simportal/sims/usage/batch".into(),
                "sim/{tenant}/{iccid}/usage".into(),
            ],
            max_packet_bytes: 256 * 1024,
            max_connections: 20_000,
            connect_timeout_seconds: 10,
            write_stall_timeout_seconds: 30,
            server_keep_alive_max_seconds: 0,
            max_client_id_bytes: 256,
            receive_maximum: 1000,
            max_unacked_bytes_per_connection: 1024 * 1024,
            max_backlog_bytes: 32 * 1024 * 1024,
            topic_alias_maximum: 64,
            max_topic_levels: 32,
            max_subscriptions: 200_000,
            max_subscriptions_per_client: 100,
            denied_subscriptions: Vec::new(),
            max_outbound_in_flight: 100,
            max_outbound_messages: 10_000,
            max_outbound_bytes: 4 * 1024 * 1024,
            max_outbound_bytes_in_all: 64 * 1024 * 1024,
            subscriber_patience_milliseconds: 1000,
            max_retained_messages: 100_000,
            max_retained_bytes: 16 * 1024 * 1024,
            sys_interval_seconds: 10,
            session_expiry_max_seconds: 7 * 24 * 3600,
            instance_name: "default".into(),
            max_parked_sessions: 20_000,
            login_failure_delay_milliseconds: 250,
            password_checks_at_once: 2,
            password_cache_seconds: 60,
            password_cache_entries: 10_000,
            admission: AdmissionConfig::default(),
            traffic: TrafficConfig::default(),
            acl: AclConfig::default(),
            tls: TlsConfig::default(),
            websocket: WebSocketConfig::default(),
        }
    }
}

/// What is wrong in `[mqtt]`.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum MqttConfigError {
    #[error("{key}: `{value}` is not an address and port such as 0.0.0.0:1883")]
    Listen { key: &'static str, value: String },
    #[error(
        "mqtt.listen: must be set, or mqtt.tls.listen, mqtt.websocket.listen or mqtt.websocket.tls_listen"
    )]
    Nowhere,
    #[error("{key}: must be set, because {needed_by} needs it")]
    Missing { key: &'static str, needed_by: &'static str },
    #[error("mqtt.tls.client_certificate: must be optional or required when mqtt.tls.client_ca_file is set")]
    ClientCaUnused,
    #[error("mqtt.tls.client_certificate: must be optional or required when mqtt.tls.crl_file is set")]
    CrlUnused,
    #[error("mqtt.topics: {0}")]
    Topics(#[from] TopicPatternError),
    #[error("mqtt.acl.{name}: {fault}")]
    Acl { name: &'static str, fault: TopicRuleError },
    #[error("mqtt.{name}: {value} is not between {min} and {max}")]
    OutOfRange { name: &'static str, value: u64, min: u64, max: u64 },
}

impl MqttConfig {
    /// # Errors
    /// The first setting that cannot work, with what would.
    pub fn validate(&self) -> Result<(), MqttConfigError> {
        self.validate_addresses()?;
        transport::validate(&self.tls, &self.websocket)?;
        UsageTopics::parse(&self.topics)?;
        if let Some((name, fault)) = self.acl.fault() {
            return Err(MqttConfigError::Acl { name, fault });
        }
        // The protocol's largest packet is 256 MiB - 1; the smaller bounds are where MQTT stops being usable.
        let ranges = [
            ("max_packet_bytes", self.max_packet_bytes as u64, 1024, 268_435_455),
            ("max_connections", self.max_connections as u64, 1, 1_000_000),
            ("connect_timeout_seconds", self.connect_timeout_seconds, 1, 300),
            ("write_stall_timeout_seconds", self.write_stall_timeout_seconds, 1, 3600),
            ("max_client_id_bytes", self.max_client_id_bytes as u64, 23, 65_535),
            ("receive_maximum", u64::from(self.receive_maximum), 1, 65_535),
            ("max_unacked_bytes_per_connection", self.max_unacked_bytes_per_connection as u64, 1024, 1 << 40),
            ("max_backlog_bytes", self.max_backlog_bytes as u64, 1024, 1 << 40),
            ("max_topic_levels", self.max_topic_levels as u64, 4, 200),
            ("max_subscriptions", self.max_subscriptions as u64, 1, 1 << 32),
            ("max_subscriptions_per_client", self.max_subscriptions_per_client as u64, 1, 100_000),
            ("max_outbound_in_flight", self.max_outbound_in_flight as u64, 1, 65_535),
            ("max_outbound_messages", self.max_outbound_messages as u64, 2, 1_000_000),
            ("max_outbound_bytes", self.max_outbound_bytes as u64, 1024, 1 << 40),
            ("max_outbound_bytes_in_all", self.max_outbound_bytes_in_all as u64, 1024, 1 << 40),
            ("subscriber_patience_milliseconds", self.subscriber_patience_milliseconds, 0, 60_000),
            ("sys_interval_seconds", self.sys_interval_seconds, 0, 86_400),
            ("tls.handshakes_at_once", self.tls.handshakes_at_once as u64, 0, 1024),
            ("websocket.max_handshake_bytes", self.websocket.max_handshake_bytes as u64, 1024, 65_536),
            ("password_checks_at_once", self.password_checks_at_once as u64, 1, 64),
            ("acl.check_milliseconds", self.acl.check_milliseconds, 50, 60_000),
            ("login_failure_delay_milliseconds", self.login_failure_delay_milliseconds, 0, 10_000),
        ];
        let more = admission::ranges(&self.admission, &self.traffic);
        for (name, value, min, max) in ranges.into_iter().chain(more) {
            if !(min..=max).contains(&value) {
                return Err(MqttConfigError::OutOfRange { name, value, min, max });
            }
        }
        Ok(())
    }

    /// Every setting that names a place to listen, with its key.
    pub fn listeners(&self) -> [(&'static str, &str); 4] {
        [
            ("mqtt.listen", &self.listen),
            ("mqtt.tls.listen", &self.tls.listen),
            ("mqtt.websocket.listen", &self.websocket.listen),
            ("mqtt.websocket.tls_listen", &self.websocket.tls_listen),
        ]
    }

    /// Whether clients may come in over TLS.
    pub fn is_encrypted(&self) -> bool {
        self.enabled && !(self.tls.listen.is_empty() && self.websocket.tls_listen.is_empty())
    }

    fn validate_addresses(&self) -> Result<(), MqttConfigError> {
        let mut anywhere = !self.enabled;
        for (key, value) in self.listeners().into_iter().filter(|(_, value)| !value.is_empty()) {
            let resolves = value.to_socket_addrs().is_ok_and(|mut found| found.next().is_some());
            if !resolves {
                return Err(MqttConfigError::Listen { key, value: value.into() });
            }
            anywhere = true;
        }
        if anywhere { Ok(()) } else { Err(MqttConfigError::Nowhere) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_listen_on_this_machine_only() {
        let config = MqttConfig::default();
        assert_eq!(config.validate(), Ok(()));
        assert_eq!(config.listeners().map(|(_, listen)| listen), ["127.0.0.1:1883", "", "", ""]);
        assert!(!config.anonymous);
    }

    #[test]
    fn an_unknown_key_is_refused_and_a_missing_one_has_its_default() {
        assert!(toml::from_str::<MqttConfig>("max_packet = 1").is_err());
        let config: MqttConfig = toml::from_str("receive_maximum = 7").unwrap();
        assert_eq!(config, MqttConfig { receive_maximum: 7, ..MqttConfig::default() });
    }

    #[test]
    fn a_setting_that_cannot_work_is_named() {
        let listen = MqttConfig { listen: "1883".into(), ..MqttConfig::default() };
        let refused = MqttConfigError::Listen { key: "mqtt.listen", value: "1883".into() };
        assert_eq!(listen.validate(), Err(refused));
        let nowhere = MqttConfig { listen: String::new(), ..MqttConfig::default() };
        assert_eq!(nowhere.validate(), Err(MqttConfigError::Nowhere));
        assert_eq!(MqttConfig { enabled: false, ..nowhere }.validate(), Ok(()));
        let window = MqttConfig { receive_maximum: 0, ..MqttConfig::default() };
        assert_eq!(
            window.validate().unwrap_err().to_string(),
            "mqtt.receive_maximum: 0 is not between 1 and 65535"
        );
        let topics = MqttConfig { topics: vec!["a/#".into()], ..MqttConfig::default() };
        assert!(matches!(topics.validate(), Err(MqttConfigError::Topics(_))));
        let acl = AclConfig { device_publish: vec!["a/{imsi}".into()], ..AclConfig::default() };
        let acl = MqttConfig { acl, ..MqttConfig::default() };
        assert!(acl.validate().unwrap_err().to_string().starts_with("mqtt.acl.device_publish: `a/{imsi}`"));
    }
}
