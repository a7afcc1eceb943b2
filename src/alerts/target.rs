//! Where webhooks may lead. Their addresses come from tenants, and the machine that calls them stands inside a network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use thiserror::Error;

const URL_MAX_CHARS: usize = 2_000;

/// Why an address is refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum TargetFault {
    #[error("must be an address such as https://alerts.example/hook, of at most 2000 characters")]
    NotAnAddress,
    #[error("must begin with https://")]
    NotEncrypted,
    #[error("must not hold a user name or password; check the signature instead")]
    Credentials,
    #[error("must not be an address of a private network")]
    Private,
}

/// Whether a webhook may have this address. What its name stands for is looked at with each call.
///
/// # Errors
/// [`TargetFault`]
pub fn check_target(text: &str, allow_private: bool) -> Result<Url, TargetFault> {
    let url = Url::parse(text).map_err(|_| TargetFault::NotAnAddress)?;
    let host = url.host_str().unwrap_or("");
    if text.chars().count() > URL_MAX_CHARS || host.is_empty() || text.chars().any(char::is_control) {
        return Err(TargetFault::NotAnAddress);
    }
    match url.scheme() {
        "https" => {}
        "http" if allow_private => {}
        "http" => return Err(TargetFault::NotEncrypted),
        _ => return Err(TargetFault::NotAnAddress),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(TargetFault::Credentials);
    }
    let literal: Option<IpAddr> = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
    if !allow_private && literal.is_some_and(|address| !is_public(address)) {
        return Err(TargetFault::Private);
    }
    Ok(url)
}

/// Looks names up and gives the addresses that may be called. The connection is made to what was looked at here, so a name
/// that stands for something else a moment later gains nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct CheckedNames {
    pub(super) allow_private: bool,
}

impl Resolve for CheckedNames {
    fn resolve(&self, name: Name) -> Resolving {
        let allow_private = self.allow_private;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> =
                found.filter(|address| allow_private || is_public(address.ip())).collect();
            if allowed.is_empty() {
                return Err(TargetFault::Private.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// Whether an address is one of the public internet (IANA special-purpose registries).
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || a == 0
        || a >= 224 // multicast, reserved, broadcast
        || (a == 100 && (64..128).contains(&b)) // carrier-grade NAT
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (18..20).contains(&b));
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    if segments[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
        // NAT64: what it leads to counts.
        let [.., a, b, c, d] = address.octets();
        return is_public_v4(Ipv4Addr::new(a, b, c, d));
    }
    let global_unicast = segments[0] & 0xe000 == 0x2000;
    let special = segments[0] == 0x2002 // 6to4
        || (segments[0] == 0x2001 && segments[1] < 0x200) // protocol assignments, Teredo
        || (segments[0] == 0x2001 && segments[1] == 0xdb8) // documentation
        || (segments[0] == 0x3fff && segments[1] < 0x1000); // documentation
    global_unicast && !special
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Catches a range that is forgotten, and an IPv4 address in the clothes of an IPv6 one.
    #[test]
    fn only_addresses_of_the_public_internet_are_called() {
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "::7f00:1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in
            ["1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "64:ff9b::101:101", "2001:4860::8888"]
        {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn an_address_is_refused_with_the_reason() {
        let fault = |text: &str| check_target(text, false).err();
        assert_eq!(fault("https://alerts.example/hook?x=1"), None);
        assert_eq!(fault("https://1.1.1.1:8443/"), None);
        assert_eq!(fault("http://alerts.example/"), Some(TargetFault::NotEncrypted));
        assert_eq!(fault("ftp://alerts.example/"), Some(TargetFault::NotAnAddress));
        assert_eq!(fault("alerts.example"), Some(TargetFault::NotAnAddress));
        assert_eq!(fault("https://"), Some(TargetFault::NotAnAddress));
        assert_eq!(
            fault(&format!("https://a.example/{}", "x".repeat(2_000))),
            Some(TargetFault::NotAnAddress)
        );
        assert_eq!(fault("https://user:word@alerts.example/"), Some(TargetFault::Credentials));
        // The same address in four spellings.
        for text in
            ["https://127.0.0.1/", "https://0x7f.1/", "https://2130706433/", "https://[::ffff:7f00:1]/"]
        {
            assert_eq!(fault(text), Some(TargetFault::Private), "{text}");
        }
        assert!(check_target("http://127.0.0.1:9/", true).is_ok());
    }
}
