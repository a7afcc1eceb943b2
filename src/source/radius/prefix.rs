use std::net::IpAddr;
use std::str::FromStr;

use thiserror::Error;

/// A network, or one address as the smallest of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    network: IpAddr,
    bits: u8,
}

/// A text that is no network.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PrefixError {
    #[error("`{0}` is no address, and no network such as 10.0.0.0/8 or 2001:db8::/32")]
    Form(String),
    #[error("`{0}` has bits behind its prefix: the network is {1}")]
    HostBits(String, IpAddr),
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let form = || PrefixError::Form(text.to_owned());
        let (address, bits) = text.split_once('/').map_or((text, None), |(a, bits)| (a, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| form())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), str::parse).map_err(|_| form())?;
        if bits > most {
            return Err(form());
        }
        let network = masked(address, bits);
        // 10.0.0.1/8 may stand for one address or for the network: whoever wrote it has to say.
        if network != address {
            return Err(PrefixError::HostBits(text.to_owned(), network));
        }
        Ok(Self { network, bits })
    }
}

impl Prefix {
    pub(super) fn holds(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.network.is_ipv4() && masked(address, self.bits) == self.network
    }

    /// Longer ones are more specific.
    pub(super) fn bits(&self) -> u8 {
        self.bits
    }
}

fn masked(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            IpAddr::V4((u32::from(v4) & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            IpAddr::V6((u128::from(v6) & mask).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_holds_its_addresses_and_no_others() {
        let cases = [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
            ("0.0.0.0/0", "203.0.113.1", true),
            ("0.0.0.0/0", "::1", false),
            ("2001:db8::/32", "2001:db8:1::5", true),
            ("2001:db8::/32", "2001:db9::5", false),
            ("::/0", "2001:db9::5", true),
            ("::1", "::1", true),
        ];
        for (network, address, holds) in cases {
            assert_eq!(prefix(network).holds(address.parse().unwrap()), holds, "{network} {address}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "10.0.0.0/33", "10.0.0.0/-1", "::/129", "nas.example", "10.0.0.0/", "10.0.0.0/8/8"] {
            assert_eq!(text.parse::<Prefix>(), Err(PrefixError::Form(text.into())));
        }
        let network = "10.0.0.0".parse().unwrap();
        let fault = PrefixError::HostBits("10.0.0.1/8".into(), network);
        assert_eq!("10.0.0.1/8".parse::<Prefix>(), Err(fault));
    }
}
