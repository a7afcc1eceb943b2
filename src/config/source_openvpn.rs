use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::source::openvpn::{AccountName, ManagementAddress, Zone};

/// An OpenVPN server whose clients are metered.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct OpenVpnSourceConfig {
    /// In metrics, logs and session ids, and in `usage_accounts`.
    pub name: String,
    /// File into which the server writes its status; or `management`.
    pub status_file: PathBuf,
    /// `host:port` or the path of a socket at which the server's management interface listens.
    pub management: String,
    /// File that holds the password of the management interface.
    pub password_file: PathBuf,
    /// `common_name` or `username`.
    pub account: String,
    /// Zone of the server's wall clock, for version 1 of the format; empty for that of this machine.
    pub time_zone: String,
    /// In whose name records arrive.
    pub tenant: String,
    pub interval_seconds: u64,
    /// Age of the status beyond which something is wrong.
    pub stale_after_seconds: u64,
    pub timeout_seconds: u64,
    pub status_max_bytes: u64,
    pub sessions_max: usize,
}

impl Default for OpenVpnSourceConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            status_file: PathBuf::new(),
            management: String::new(),
            password_file: PathBuf::new(),
            account: "common_name".into(),
            time_zone: String::new(),
            tenant: "default".into(),
            interval_seconds: 60,
            stale_after_seconds: 300,
            timeout_seconds: 10,
            status_max_bytes: 16 << 20,
            sessions_max: 20_000,
        }
    }
}

impl OpenVpnSourceConfig {
    pub(super) fn fault(&self) -> Option<(&'static str, String)> {
        let from_file = !self.status_file.as_os_str().is_empty();
        let is_asked = !self.management.is_empty();
        let password = !self.password_file.as_os_str().is_empty();
        if from_file == is_asked {
            return Some(("status_file", "or `management` must be stated, and not both".into()));
        }
        if is_asked && ManagementAddress::parse(&self.management).is_none() {
            return Some(("management", "must be host:port, or the path of a socket from / on".into()));
        }
        if from_file && password {
            return Some(("password_file", "belongs to `management`; a file needs no password".into()));
        }
        if AccountName::parse(&self.account).is_none() {
            return Some(("account", "must be common_name or username".into()));
        }
        if Zone::parse(&self.time_zone).is_none() {
            let problem = format!("`{}` is no time zone such as Europe/Zurich", self.time_zone);
            return Some(("time_zone", problem));
        }
        let bounds = [
            ("interval_seconds", self.interval_seconds, 1, 86_400),
            ("stale_after_seconds", self.stale_after_seconds, 1, 604_800),
            ("timeout_seconds", self.timeout_seconds, 1, 300),
            ("status_max_bytes", self.status_max_bytes, 1_024, 1 << 30),
            ("sessions_max", self.sessions_max as u64, 1, 1_000_000),
        ];
        let broken = bounds.into_iter().find(|(_, value, least, most)| !(least..=most).contains(&value));
        broken.map(|(key, _, least, most)| (key, format!("must be from {least} to {most}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> OpenVpnSourceConfig {
        OpenVpnSourceConfig { status_file: "/run/openvpn/hq.status".into(), ..Default::default() }
    }

    fn management(address: &str) -> OpenVpnSourceConfig {
        OpenVpnSourceConfig { management: address.into(), ..Default::default() }
    }

    #[test]
    fn a_file_or_an_address_suffices() {
        for source in [file(), management("127.0.0.1:7505"), management("/run/openvpn/hq.sock")] {
            assert_eq!(source.fault(), None);
        }
        assert_eq!(management("[::1]:7505").fault(), None);
    }

    #[test]
    fn what_cannot_work_is_named_with_what_would() {
        let key = |source: OpenVpnSourceConfig| source.fault().map(|(key, _)| key);
        assert_eq!(key(OpenVpnSourceConfig::default()), Some("status_file"));
        assert_eq!(key(OpenVpnSourceConfig { management: "h:1".into(), ..file() }), Some("status_file"));
        for address in ["localhost", "localhost:0", ":7505", "run/hq.sock", "host:99999"] {
            assert_eq!(key(management(address)), Some("management"), "{address}");
        }
        assert_eq!(key(OpenVpnSourceConfig { password_file: "/p".into(), ..file() }), Some("password_file"));
        assert_eq!(key(OpenVpnSourceConfig { account: "cn".into(), ..file() }), Some("account"));
        assert_eq!(key(OpenVpnSourceConfig { time_zone: "CEST/x".into(), ..file() }), Some("time_zone"));
        let (key, problem) = OpenVpnSourceConfig { interval_seconds: 0, ..file() }.fault().expect("a fault");
        assert_eq!((key, problem.as_str()), ("interval_seconds", "must be from 1 to 86400"));
    }
}
