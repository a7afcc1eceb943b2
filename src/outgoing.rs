//! TLS to a broker.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};

use crate::source::SourceFault;

/// PEM files; an empty path is none.
#[derive(Clone, Debug, Default)]
pub struct TlsFiles {
    /// The authority of the broker's certificate, beside the machine's own.
    pub ca: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Trusts the machine's authorities and the stated one; shows a certificate if one is stated.
pub(in crate::source) fn client(files: &TlsFiles) -> Result<Arc<ClientConfig>, SourceFault> {
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
        return Ok(Arc::new(builder.with_no_client_auth()));
    }
    let chain = certificates("certificate_file", &files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| unusable("key_file", &files.key, e))?;
    let config = builder.with_client_auth_cert(chain, key);
    Ok(Arc::new(config.map_err(|e| unusable("certificate_file", &files.certificate, e))?))
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, SourceFault> {
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

fn unusable(key: &'static str, path: &Path, why: impl std::fmt::Display) -> SourceFault {
    SourceFault { key, problem: format!("{}: {why}", path.display()) }
}
