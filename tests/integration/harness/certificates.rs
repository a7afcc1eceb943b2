use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::PATIENCE;
use super::bridge::{BridgeOptions, simbridge};

/// What `simbridge certs create` made.
pub(crate) struct Certificates {
    directory: TempDir,
}

impl Certificates {
    pub(crate) async fn create(devices: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut command = simbridge();
        command.args(["certs", "create", "--dir"]).arg(directory.path());
        for device in devices {
            command.args(["--device", device]);
        }
        let made = command.output().await.expect("the program starts");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self { directory }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// TLS and wss on, with these certificates.
    pub(crate) fn configure(&self, options: &mut BridgeOptions) {
        options
            .set("mqtt.tls.listen", "127.0.0.1:0")
            .set("mqtt.websocket.tls_listen", "127.0.0.1:0")
            .set("mqtt.tls.certificate_file", self.text("server.pem"))
            .set("mqtt.tls.key_file", self.text("server.key"));
    }

    /// Writes `crl.pem`, the authority's revocation list, with the certificates of these devices on it.
    pub(crate) async fn revoke(&self, devices: &[&str]) {
        let directory = self.directory.path();
        let settings = "[ca]\ndefault_ca = own\n[own]\ndatabase = index.txt\ncrlnumber = crlnumber\ndefault_md = sha256\n\
                        default_crl_days = 30\n";
        for (name, text) in [("ca.conf", settings), ("index.txt", ""), ("crlnumber", "01\n")] {
            std::fs::write(directory.join(name), text).expect("it is ours");
        }
        let revoked = devices.iter().map(|device| format!("-revoke {device}.pem"));
        for what in revoked.chain(["-gencrl -out crl.pem".to_owned()]) {
            let arguments = format!("ca -config ca.conf -keyfile ca.key -cert ca.pem {what}");
            let mut command = tokio::process::Command::new("openssl");
            command.args(arguments.split(' ')).current_dir(directory);
            let done = command.output().await.expect("openssl is installed");
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        }
    }

    /// Puts another's server certificate and key in the place of these.
    pub(crate) fn replace_server(&self, other: &Self) {
        for name in ["server.pem", "server.key"] {
            std::fs::copy(other.path(name), self.path(name)).expect("it can be replaced");
        }
    }

    /// Trusts this authority; shows the certificate of a device.
    pub(crate) fn connector(&self, device: Option<&str>) -> TlsConnector {
        self.connector_as(device.map(|device| (self, device)))
    }

    /// The same with a device of another authority.
    pub(crate) fn connector_as(&self, device: Option<(&Self, &str)>) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(certificate(self.path("ca.pem"))).expect("it is an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("they suit the provider")
            .with_root_certificates(roots);
        let client = match device {
            None => client.with_no_client_auth(),
            Some((of, device)) => {
                let key = PrivateKeyDer::from_pem_file(of.path(&format!("{device}.key"))).expect("a key");
                let chain = vec![certificate(of.path(&format!("{device}.pem")))];
                client.with_client_auth_cert(chain, key).expect("they fit")
            }
        };
        Arc::new(client).into()
    }
}

fn certificate(path: PathBuf) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).expect("a certificate")
}

pub(crate) fn localhost() -> ServerName<'static> {
    ServerName::try_from("localhost").expect("a name")
}

/// Connects and does the handshake.
pub(crate) async fn connect_tls(
    address: Option<SocketAddr>,
    connector: &TlsConnector,
) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(address.expect("TLS is on")).await?;
    tokio::time::timeout(PATIENCE, connector.connect(localhost(), tcp)).await.expect("in time")
}
