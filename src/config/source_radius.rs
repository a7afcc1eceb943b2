use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::source::radius::{AccountAttribute, Prefix};

use super::source::name_fault;

/// A socket at which RADIUS accounting is answered.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RadiusSourceConfig {
    /// In metrics, logs, session ids and with parked records.
    pub name: String,
    /// Address and port; UDP.
    pub listen: String,
    /// In whose name records arrive.
    pub tenant: String,
    /// Attributes that may name the account; the first one that a packet has counts.
    pub account: Vec<String>,
    /// Requests that wait to be stored; more are dropped.
    pub max_waiting_requests: usize,
    /// Requests of one commit.
    pub batch_max_requests: usize,
    /// How long a repetition is answered as the first one was.
    pub duplicates_max_age_seconds: u64,
    /// Requests that are remembered for that.
    pub duplicates_max_requests: usize,
    /// Who may send.
    pub clients: Vec<RadiusClientConfig>,
}

/// Who sends requests and shares a secret.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RadiusClientConfig {
    /// In session ids.
    pub name: String,
    /// Addresses and networks.
    pub addresses: Vec<String>,
    /// File that holds the secret.
    pub secret_file: PathBuf,
}

impl Default for RadiusSourceConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            listen: "127.0.0.1:1813".into(),
            tenant: "default".into(),
            account: ["3GPP-IMSI", "Calling-Station-Id", "User-Name"].map(str::to_owned).into(),
            max_waiting_requests: 4096,
            batch_max_requests: 500,
            duplicates_max_age_seconds: 30,
            duplicates_max_requests: 16_384,
            clients: Vec::new(),
        }
    }
}

impl RadiusSourceConfig {
    pub(super) fn fault(&self) -> Option<(String, String)> {
        let fault = |key: &str, problem: String| Some((key.to_owned(), problem));
        if let Some(problem) = name_fault(&self.name) {
            return fault("name", problem);
        }
        if self.listen.parse::<SocketAddr>().is_err() {
            return fault(
                "listen",
                "must be an address and a port, such as 127.0.0.1:1813 or [::]:1813".into(),
            );
        }
        if self.account.is_empty() {
            return fault("account", "must name at least one attribute".into());
        }
        if let Some(problem) = self.account.iter().find_map(|name| name.parse::<AccountAttribute>().err()) {
            return fault("account", problem.to_string());
        }
        let bounds = [
            ("max_waiting_requests", self.max_waiting_requests as u64, 1, 1_000_000),
            // One query looks up so many sessions.
            ("batch_max_requests", self.batch_max_requests as u64, 1, 1_000),
            ("duplicates_max_age_seconds", self.duplicates_max_age_seconds, 1, 300),
            ("duplicates_max_requests", self.duplicates_max_requests as u64, 1, 1_000_000),
        ];
        if let Some((key, _, least, most)) =
            bounds.into_iter().find(|(_, n, least, most)| n < least || n > most)
        {
            return fault(key, format!("must be from {least} to {most}"));
        }
        self.clients_fault()
    }

    fn clients_fault(&self) -> Option<(String, String)> {
        if self.clients.is_empty() {
            return Some(("clients".into(), "must name at least one client".into()));
        }
        let mut held: Vec<(Prefix, &str)> = Vec::new();
        for (n, client) in self.clients.iter().enumerate() {
            let fault = |key: &str, problem| Some((format!("clients[{n}].{key}"), problem));
            if let Some(problem) = name_fault(&client.name) {
                return fault("name", problem);
            }
            if self.clients[..n].iter().any(|other| other.name == client.name) {
                return fault("name", format!("`{}` stands twice", client.name));
            }
            if client.addresses.is_empty() {
                return fault("addresses", "must name at least one address or network".into());
            }
            for text in &client.addresses {
                let prefix = match text.parse::<Prefix>() {
                    Ok(prefix) => prefix,
                    Err(problem) => return fault("addresses", problem.to_string()),
                };
                if let Some((_, other)) = held.iter().find(|(other, _)| *other == prefix) {
                    return fault("addresses", format!("`{text}` is that of client `{other}`"));
                }
                held.push((prefix, &client.name));
            }
            if client.secret_file.as_os_str().is_empty() {
                return fault("secret_file", "must name the file that holds the secret".into());
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(name: &str, address: &str) -> RadiusClientConfig {
        RadiusClientConfig {
            name: name.into(),
            addresses: vec![address.into()],
            secret_file: "secret".into(),
        }
    }

    fn source() -> RadiusSourceConfig {
        RadiusSourceConfig {
            name: "core".into(),
            clients: vec![client("a", "10.0.0.0/8"), client("b", "10.1.0.0/16")],
            ..RadiusSourceConfig::default()
        }
    }

    fn fault(change: impl FnOnce(&mut RadiusSourceConfig)) -> String {
        let mut source = source();
        change(&mut source);
        let (key, problem) = source.fault().expect("a fault");
        format!("{key} {problem}")
    }

    #[test]
    fn a_name_and_a_client_suffice() {
        assert_eq!(source().fault(), None);
    }

    #[test]
    fn what_cannot_work_is_named_with_its_place() {
        assert!(fault(|s| s.name = "a b".into()).starts_with("name must be"));
        assert!(fault(|s| s.listen = "localhost".into()).starts_with("listen must be"));
        assert_eq!(fault(|s| s.account.clear()), "account must name at least one attribute");
        assert!(
            fault(|s| s.account.push("Class".into())).starts_with("account can name 3GPP-IMSI, Calling-")
        );
        assert_eq!(fault(|s| s.batch_max_requests = 0), "batch_max_requests must be from 1 to 1000");
        assert_eq!(fault(|s| s.clients.clear()), "clients must name at least one client");
        assert_eq!(fault(|s| s.clients[1].name = "a".into()), "clients[1].name `a` stands twice");
        assert!(fault(|s| s.clients[0].addresses.clear()).starts_with("clients[0].addresses must name"));
        assert!(
            fault(|s| s.clients[0].addresses.push("nas".into())).starts_with("clients[0].addresses `nas`")
        );
        let twice = fault(|s| s.clients[1].addresses.push("10.0.0.0/8".into()));
        assert_eq!(twice, "clients[1].addresses `10.0.0.0/8` is that of client `a`");
        assert!(fault(|s| s.clients[1].secret_file = "".into()).starts_with("clients[1].secret_file must"));
    }
}
