//! What connections to servers of others share: whom they trust, and what is said of their failures.

use std::error::Error;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};

/// Characters of a failure that are kept.
const FAILURE_MAX_CHARS: usize = 200;

/// PEM files; an empty path is none.
#[derive(Clone, Debug, Default)]
pub struct TlsFiles {
    /// The authority of the server's certificate, beside the machine's own.
    pub ca: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// A file that cannot be used, by the configuration key that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsFault {
    pub(crate) key: &'static str,
    pub(crate) problem: String,
}

/// Trusts the machine's authorities and the stated one; shows a certificate if one is stated.
pub(crate) fn tls_client(files: &TlsFiles) -> Result<ClientConfig, TlsFault> {
    let mut roots = RootCertStore::empty();
    for certificate in rustls_native_certs::load_native_certs().certs {
        roots.add(certificate).ok();
    }
    for certificate in certificates("ca_file", &files.ca)? {
        roots.add(certificate).map_err(|e| unusable("ca_file", &files.ca, e))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| unusable("url", Path::new(""), e))?
        .with_root_certificates(roots);
    if files.certificate.as_os_str().is_empty() {
        return Ok(builder.with_no_client_auth());
    }
    let chain = certificates("certificate_file", &files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| unusable("key_file", &files.key, e))?;
    let config = builder.with_client_auth_cert(chain, key);
    config.map_err(|e| unusable("certificate_file", &files.certificate, e))
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFault> {
    if path.as_os_str().is_empty() {
        return Ok(Vec::new());
    }
    let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let all = all.map_err(|e| unusable(key, path, e))?;
    if all.is_empty() {
        return Err(unusable(key, path, "it holds no certificate"));
    }
    Ok(all)
}

fn unusable(key: &'static str, path: &Path, why: impl Display) -> TlsFault {
    TlsFault { key, problem: format!("{}: {why}", path.display()) }
}

/// What went wrong with a request; the innermost cause says most. Nothing of what was received.
pub(crate) fn http_failure(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".into();
    }
    let mut deepest: &dyn Error = error;
    while let Some(cause) = deepest.source() {
        deepest = cause;
    }
    deepest.to_string().chars().filter(|c| !c.is_control()).take(FAILURE_MAX_CHARS).collect()
}
