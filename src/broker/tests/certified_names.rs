//! Whom a certificate names.

use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair};

use crate::broker::certificate::{certified_name, expires_at};

const COMMON_NAME: [u64; 4] = [2, 5, 4, 3];

fn named(names: &[(DnType, DnValue)]) -> Option<String> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    for (kind, name) in names {
        params.distinguished_name.push(kind.clone(), name.clone());
    }
    params.not_after = rcgen::date_time_ymd(2030, 1, 2);
    let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    assert_eq!(expires_at(certificate.der()), Some(1_893_542_400));
    certified_name(certificate.der()).map(|name| format!("{name:?}"))
}

fn common(name: &str) -> (DnType, DnValue) {
    (DnType::CommonName, DnValue::Utf8String(name.into()))
}

/// Catches the first or last of several names that counts, and a name that no user can have.
#[test]
fn a_certificate_names_a_user_by_exactly_one_usable_common_name() {
    let organization = (DnType::OrganizationName, DnValue::Utf8String("acme".into()));
    let is = |name: &str| Some(format!("CertifiedName({name:?})"));
    assert_eq!(named(&[organization.clone(), common("meter-7")]), is("meter-7"));
    assert_eq!(named(&[common("Zähler 7")]), is("Zähler 7"));
    let printable = DnValue::PrintableString("meter 8".try_into().unwrap());
    assert_eq!(named(&[(DnType::CommonName, printable)]), is("meter 8"));
    assert_eq!(named(&[organization]), None);
    let second = (DnType::CustomDnType(COMMON_NAME.into()), DnValue::Utf8String("admin".into()));
    assert_eq!(named(&[common("meter-7"), second]), None);
    for unusable in ["", "a\0b", "a\nb", &"x".repeat(257)] {
        assert_eq!(named(&[common(unusable)]), None, "{unusable:?}");
    }
    assert_eq!(certified_name(&vec![0x30, 3, 2, 1, 1].into()), None);
}
