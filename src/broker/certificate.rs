//! What stands in a certificate, and logging in with it.

use rustls::pki_types::CertificateDer;
use tokio::sync::Semaphore;
use x509_cert::Certificate;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::der::asn1::{PrintableStringRef, TeletexStringRef, Utf8StringRef};
use x509_cert::der::oid::db::rfc4519::CN;
use x509_cert::der::{Decode, Tag, Tagged};

use super::auth::{Access, LoginError};
use super::credential::Identity;

/// Longer names are no user names (X.520 allows 64 characters).
const MAX_NAME_BYTES: usize = 256;

/// Who a client is by its certificate. What was verified is that an authority of `mqtt.tls.client_ca_file` signed it and
/// that it is valid now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CertifiedName(String);

/// The one common name of the subject. None, two or an unusable one make no user.
pub(super) fn certified_name(certificate: &CertificateDer<'_>) -> Option<CertifiedName> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let subject = &certificate.tbs_certificate.subject.0;
    let mut names = subject.iter().flat_map(|names| names.0.iter()).filter(|name| name.oid == CN);
    let (Some(name), None) = (names.next(), names.next()) else { return None };
    let name = text(name)?;
    let usable = !name.is_empty() && name.len() <= MAX_NAME_BYTES && !name.contains(char::is_control);
    usable.then(|| CertifiedName(name.to_owned()))
}

fn text(name: &AttributeTypeAndValue) -> Option<&str> {
    match name.value.tag() {
        Tag::Utf8String => name.value.decode_as::<Utf8StringRef<'_>>().ok().map(|text| text.as_str()),
        Tag::PrintableString => {
            name.value.decode_as::<PrintableStringRef<'_>>().ok().map(|text| text.as_str())
        }
        Tag::TeletexString => name.value.decode_as::<TeletexStringRef<'_>>().ok().map(|text| text.as_str()),
        _ => None,
    }
}

/// Unix time of the end of its validity; `None` if it cannot be taken apart.
pub(super) fn expires_at(certificate: &CertificateDer<'_>) -> Option<i64> {
    let certificate = Certificate::from_der(certificate).ok()?;
    i64::try_from(certificate.tbs_certificate.validity.not_after.to_unix_duration().as_secs()).ok()
}

/// Who the client is by CONNECT and, if it has shown one, by its certificate. A certificate stands in for the password of
/// one user, the one whom it names: another user name is refused, whatever its password, and a password that is given all
/// the same must be right. `checks` are the password checks that one address may have at once.
pub(super) async fn identify(
    access: &Access,
    login: Option<(String, String)>,
    certified: Option<&CertifiedName>,
    checks: Option<&Semaphore>,
) -> Result<Identity, LoginError> {
    let Some(CertifiedName(name)) = certified else { return access.identify(login, checks).await };
    match &login {
        Some((username, _)) if !username.is_empty() && username != name => Err(LoginError::BadLogin),
        Some((_, password)) if !password.is_empty() => access.identify(login, checks).await,
        _ => access.identify_certified(name).await,
    }
}
