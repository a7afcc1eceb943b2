//! The certificate that the broker shows, and those of its clients. Both are read from files again at SIGHUP: new
//! handshakes use what was read last, and connections that stand do not notice.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::config::transport::{ClientCertificate, TlsConfig};
use crate::shutdown::Hangups;

use super::certificate;
use super::metrics::BrokerMetrics;

const CERTIFICATE_KEY: &str = "mqtt.tls.certificate_file";
const KEY_KEY: &str = "mqtt.tls.key_file";
const CLIENT_CA_KEY: &str = "mqtt.tls.client_ca_file";
const CRL_KEY: &str = "mqtt.tls.crl_file";

/// A file of `[mqtt.tls]` that cannot be used. It is a wrong setting: at the start the program ends, later what was read
/// before goes on counting.
#[derive(Debug, Error)]
pub enum TlsError {
    #[error("{key}: cannot read {path}: {cause}")]
    Unreadable { key: &'static str, path: PathBuf, cause: io::Error },
    #[error("{key}: {path} cannot be used: {why}")]
    Unusable { key: &'static str, path: PathBuf, why: String },
    #[error("{KEY_KEY}: the key in {key_file} does not belong to the certificate in {certificate_file}")]
    Mismatch { key_file: PathBuf, certificate_file: PathBuf },
}

/// What handshakes need.
pub struct Tls {
    files: TlsConfig,
    current: RwLock<Loaded>,
    /// Handshakes that may compute at the same time.
    pub(super) computing: Semaphore,
}

struct Loaded {
    config: Arc<ServerConfig>,
    expiry: Expiry,
}

/// When the first certificate of a file expires; unix time. `None` if there is no such file, or nothing in it could be taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// Of what the broker shows: its own and those up to its authority.
    pub server: Option<i64>,
    /// Of the authorities of clients.
    pub client_ca: Option<i64>,
}

impl Expiry {
    fn tell(self, metrics: &BrokerMetrics) {
        for (certificate, at) in [("server", self.server), ("client_ca", self.client_ca)] {
            if let Some(at) = at {
                metrics.certificate_expires(certificate, at);
            }
        }
    }
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`] with the setting and the file at fault.
    pub fn load(files: &TlsConfig) -> Result<Self, TlsError> {
        let at_once = match files.handshakes_at_once {
            0 => std::thread::available_parallelism().map_or(1, |processors| (processors.get() / 2).max(1)),
            configured => configured,
        };
        Ok(Self {
            current: RwLock::new(load(files)?),
            computing: Semaphore::new(at_once),
            files: files.clone(),
        })
    }

    /// Reads the files again, for handshakes from now on.
    ///
    /// # Errors
    /// As [`Tls::load`]; what was read before goes on counting.
    pub fn reload(&self) -> Result<(), TlsError> {
        let loaded = load(&self.files)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        Ok(())
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.current(|loaded| loaded.config.clone()).into()
    }

    /// Of the certificates in use.
    pub fn expiry(&self) -> Expiry {
        self.current(|loaded| loaded.expiry)
    }

    fn current<T>(&self, look: impl FnOnce(&Loaded) -> T) -> T {
        // Nothing that can panic happens while the lock is held.
        look(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Reads the files again at each SIGHUP, until `stop`.
pub async fn reload_at_hangups(
    tls: Option<Arc<Tls>>,
    metrics: Arc<BrokerMetrics>,
    mut hangups: Hangups,
    stop: CancellationToken,
) {
    if let Some(tls) = &tls {
        tls.expiry().tell(&metrics);
    }
    while stop.run_until_cancelled(hangups.next()).await.is_some() {
        let Some(tls) = &tls else {
            info!("there are no certificates to read again");
            continue;
        };
        let reading = tls.clone();
        // Files may lie on a network. A panic in there keeps what was read before, like an error.
        match tokio::task::spawn_blocking(move || reading.reload()).await {
            Ok(Ok(())) => {
                metrics.certificate_reload("ok");
                tls.expiry().tell(&metrics);
                info!("certificates were read again; connections that stand keep theirs");
            }
            Ok(Err(fault)) => {
                metrics.certificate_reload("failed");
                error!(%fault, "certificates were read again and cannot be used; those from before go on counting");
            }
            Err(fault) => error!(%fault, "certificates were not read again"),
        }
    }
}

fn load(files: &TlsConfig) -> Result<Loaded, TlsError> {
    let chain = certificates(CERTIFICATE_KEY, &files.certificate_file)?;
    let key = PrivateKeyDer::from_pem_slice(&read(KEY_KEY, &files.key_file)?)
        .map_err(|fault| not_pem(KEY_KEY, &files.key_file, fault, "private key"))?;
    let authorities = client_authorities(files)?;
    let expiry = Expiry { server: first_expiry(&chain), client_ca: first_expiry(&authorities) };
    let provider = Arc::new(ring::default_provider());
    let clients = client_verifier(files, authorities, &provider)?;
    let asks_clients = clients.offer_client_auth();
    let unusable = |key, path: &Path, fault: rustls::Error| TlsError::Unusable {
        key,
        path: path.into(),
        why: fault.to_string(),
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|fault| unusable(CERTIFICATE_KEY, &files.certificate_file, fault))?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)
        .map_err(|fault| match fault {
            rustls::Error::InconsistentKeys(_) => TlsError::Mismatch {
                key_file: files.key_file.clone(),
                certificate_file: files.certificate_file.clone(),
            },
            rustls::Error::InvalidCertificate(_) => unusable(CERTIFICATE_KEY, &files.certificate_file, fault),
            fault => unusable(KEY_KEY, &files.key_file, fault),
        })?;
    // Tickets keep a fleet that reconnects from costing a signature each, and nothing in memory. A resumed session brings
    // its client's certificate along unverified, though, so where clients show certificates there is none.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    if asks_clients {
        config.send_tls13_tickets = 0;
    } else {
        config.send_tls13_tickets = 1;
        config.ticketer = ring::Ticketer::new()
            .map_err(|fault| unusable(CERTIFICATE_KEY, &files.certificate_file, fault))?;
    }
    Ok(Loaded { config: Arc::new(config), expiry })
}

fn first_expiry(certificates: &[CertificateDer<'_>]) -> Option<i64> {
    certificates.iter().filter_map(|certificate| certificate::expires_at(certificate)).min()
}

/// None where clients show no certificates.
fn client_authorities(files: &TlsConfig) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    match files.client_certificate {
        ClientCertificate::Off => Ok(Vec::new()),
        _ => certificates(CLIENT_CA_KEY, &files.client_ca_file),
    }
}

fn client_verifier(
    files: &TlsConfig,
    authorities: Vec<CertificateDer<'static>>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    if files.client_certificate == ClientCertificate::Off {
        return Ok(Arc::new(NoClientAuth));
    }
    let path = &files.client_ca_file;
    let unusable = |why: String| TlsError::Unusable { key: CLIENT_CA_KEY, path: path.clone(), why };
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority).map_err(|fault| unusable(fault.to_string()))?;
    }
    let mut verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    if files.client_certificate == ClientCertificate::Optional {
        verifier = verifier.allow_unauthenticated();
    }
    let lists = &files.crl_file;
    if !lists.as_os_str().is_empty() {
        // Also one that is past its next update counts: it would be worse to shut everybody out because nobody renewed it.
        verifier = verifier.with_crls(revocation_lists(lists)?);
    }
    verifier.build().map_err(|fault| match fault {
        VerifierBuilderError::InvalidCrl(_) => {
            TlsError::Unusable { key: CRL_KEY, path: lists.clone(), why: fault.to_string() }
        }
        fault => unusable(fault.to_string()),
    })
}

fn revocation_lists(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> =
        CertificateRevocationListDer::pem_slice_iter(&read(CRL_KEY, path)?).collect();
    let found = found.map_err(|fault| not_pem(CRL_KEY, path, fault, "revocation list"))?;
    if found.is_empty() {
        // No list at all would revoke nothing.
        return Err(not_pem(CRL_KEY, path, pem::Error::NoItemsFound, "revocation list"));
    }
    Ok(found)
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(key, path)?).collect();
    let found = found.map_err(|fault| not_pem(key, path, fault, "certificate"))?;
    if found.is_empty() {
        return Err(not_pem(key, path, pem::Error::NoItemsFound, "certificate"));
    }
    Ok(found)
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|cause| TlsError::Unreadable { key, path: path.into(), cause })
}

/// The message names what was looked for and holds nothing of the file, which may be a key.
fn not_pem(key: &'static str, path: &Path, fault: pem::Error, wanted: &str) -> TlsError {
    let why = match fault {
        pem::Error::NoItemsFound => format!("there is no {wanted} in PEM format in it"),
        _ => format!("its {wanted} is broken PEM"),
    };
    TlsError::Unusable { key, path: path.into(), why }
}
