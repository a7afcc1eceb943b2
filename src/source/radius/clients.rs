//! Who may send, and the secret that each shares with us.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use tracing::{error, info, warn};

use super::prefix::Prefix;
use crate::source::SourceFault;

/// RFC 2865, 3: at least so many, because they can be guessed from one packet.
const SHORT_SECRET_BYTES: usize = 16;

/// Who sends from some addresses; the configuration of one.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Part of its sessions' ids.
    pub name: String,
    pub addresses: Vec<Prefix>,
    pub secret_file: PathBuf,
}

/// A client, as it was when a request came.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) name: String,
    pub(super) secret: Vec<u8>,
}

/// All clients of a source.
pub(super) struct Clients {
    options: Vec<ClientOptions>,
    /// In the order of `options`.
    current: RwLock<Vec<Arc<Client>>>,
}

impl Clients {
    /// Reads the secrets.
    pub(super) fn load(options: Vec<ClientOptions>) -> Result<Self, SourceFault> {
        let clients: Result<Vec<_>, _> = options.iter().map(load).collect();
        let current = clients.map_err(|problem| SourceFault { key: "clients.secret_file", problem })?;
        Ok(Self { options, current: RwLock::new(current) })
    }

    /// Reads the secrets again, for requests from now on. A client whose file cannot be used keeps the one that it has.
    pub(super) fn reload(&self, source: &str) {
        for (index, options) in self.options.iter().enumerate() {
            match load(options) {
                Ok(client) => self.current.write().unwrap_or_else(PoisonError::into_inner)[index] = client,
                Err(problem) => {
                    let client = &options.name;
                    error!(
                        source,
                        client, problem, "its secret cannot be read; the one before goes on counting"
                    );
                }
            }
        }
        info!(source, "the secrets of its clients were read again");
    }

    /// Whose address it is; the longest prefix counts.
    pub(super) fn of(&self, address: IpAddr) -> Option<Arc<Client>> {
        let holding = |options: &ClientOptions| {
            options.addresses.iter().filter(|prefix| prefix.holds(address)).map(Prefix::bits).max()
        };
        let held = self.options.iter().enumerate().filter_map(|(n, options)| Some((holding(options)?, n)));
        let (_, index) = held.max_by_key(|(bits, _)| *bits)?;
        Some(self.current.read().unwrap_or_else(PoisonError::into_inner)[index].clone())
    }
}

fn load(options: &ClientOptions) -> Result<Arc<Client>, String> {
    let (name, path) = (&options.name, options.secret_file.display());
    let text = std::fs::read(&options.secret_file).map_err(|cause| format!("`{name}`: {path}: {cause}"))?;
    let end = text.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |last| last + 1);
    let secret = text[..end].to_vec();
    if secret.is_empty() {
        return Err(format!("`{name}`: {path} is empty"));
    }
    if secret.len() < SHORT_SECRET_BYTES {
        warn!(
            client = name,
            "its secret is shorter than {SHORT_SECRET_BYTES} characters, which can be guessed"
        );
    }
    Ok(Arc::new(Client { name: name.clone(), secret }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(name: &str, addresses: &[&str], directory: &std::path::Path) -> ClientOptions {
        let secret_file = directory.join(name);
        std::fs::write(&secret_file, format!("secret of {name}, long enough\r\n")).unwrap();
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        ClientOptions { name: name.into(), addresses, secret_file }
    }

    fn found(clients: &Clients, address: &str) -> Option<String> {
        clients.of(address.parse().unwrap()).map(|client| client.name.clone())
    }

    #[test]
    fn the_most_specific_network_says_whose_an_address_is() {
        let directory = tempfile::tempdir().unwrap();
        let clients = Clients::load(vec![
            client("one", &["10.1.2.3"], directory.path()),
            client("all", &["10.0.0.0/8", "2001:db8::/32"], directory.path()),
        ])
        .unwrap();
        assert_eq!(found(&clients, "10.1.2.3").as_deref(), Some("one"));
        assert_eq!(found(&clients, "10.1.2.4").as_deref(), Some("all"));
        assert_eq!(found(&clients, "2001:db8::1").as_deref(), Some("all"));
        assert_eq!(found(&clients, "192.0.2.1"), None);
        assert_eq!(clients.of("10.1.2.3".parse().unwrap()).unwrap().secret, b"secret of one, long enough");
    }

    #[test]
    fn a_secret_that_cannot_be_read_ends_the_start_and_is_kept_later() {
        let directory = tempfile::tempdir().unwrap();
        let options = client("one", &["10.1.2.3"], directory.path());
        let clients = Clients::load(vec![options.clone()]).unwrap();
        std::fs::write(&options.secret_file, "\n").unwrap();
        assert!(Clients::load(vec![options.clone()]).err().unwrap().problem.ends_with("is empty"));
        clients.reload("s");
        assert_eq!(clients.of("10.1.2.3".parse().unwrap()).unwrap().secret, b"secret of one, long enough");
        std::fs::write(&options.secret_file, "another one, long enough").unwrap();
        clients.reload("s");
        assert_eq!(clients.of("10.1.2.3".parse().unwrap()).unwrap().secret, b"another one, long enough");
    }
}
