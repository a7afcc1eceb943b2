//! Where a panel answers.

use reqwest::Url;
use thiserror::Error;

/// Stands for the account in an address.
const PLACE: &str = "{account}";

/// The address of a panel: one for all accounts, or with `{account}` in its path or query.
#[derive(Clone, Debug)]
pub struct Endpoint {
    template: String,
}

/// Why an address cannot be used.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum EndpointFault {
    #[error("must be an address such as https://panel.example/api/users/{{account}}")]
    NotAnAddress,
    #[error("must begin with https:// or http://")]
    NotHttp,
    #[error("must not hold a user name or password; state `auth` and `auth_file`")]
    Credentials,
    #[error("may hold {{account}} in its path or query only")]
    AccountInHost,
}

impl Endpoint {
    /// # Errors
    /// [`EndpointFault`]
    pub fn parse(text: &str) -> Result<Self, EndpointFault> {
        let endpoint = Self { template: text.into() };
        let with =
            |account| Url::parse(&text.replace(PLACE, account)).map_err(|_| EndpointFault::NotAnAddress);
        let (one, other) = (with("1")?, with("2")?);
        if one.host_str().is_none_or(str::is_empty) {
            return Err(EndpointFault::NotAnAddress);
        }
        if !["http", "https"].contains(&one.scheme()) {
            return Err(EndpointFault::NotHttp);
        }
        if !one.username().is_empty() || one.password().is_some() {
            return Err(EndpointFault::Credentials);
        }
        if one.origin() != other.origin() {
            return Err(EndpointFault::AccountInHost);
        }
        Ok(endpoint)
    }

    /// Each account has an address of its own.
    pub fn is_for_one(&self) -> bool {
        self.template.contains(PLACE)
    }

    /// The address of an account; `None` for `.` and `..`, which as part of a path would lead elsewhere.
    pub(super) fn of(&self, account: &str) -> Option<Url> {
        let elsewhere = [".", ".."].contains(&account);
        (!elsewhere).then(|| self.template.replace(PLACE, &encoded(account)))?.parse().ok()
    }

    /// The address for all accounts.
    pub(super) fn of_all(&self) -> Option<Url> {
        self.template.parse().ok()
    }
}

/// Everything but the unreserved characters (RFC 3986, 2.3), so that it stays one segment or one value.
fn encoded(account: &str) -> String {
    let mut text = String::with_capacity(account.len());
    for byte in account.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text += &format!("%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Catches an account that leads to the address of something else.
    #[test]
    fn an_account_stays_one_part_of_the_address() {
        let endpoint = Endpoint::parse("https://panel.example/u/{account}/usage?of={account}").expect("fits");
        let path = |account: &str| {
            endpoint.of(account).map(|url| format!("{}?{}", url.path(), url.query().expect("a query")))
        };
        assert_eq!(path("alice"), Some("/u/alice/usage?of=alice".into()));
        assert_eq!(
            path("a b/ü?#&"),
            Some("/u/a%20b%2F%C3%BC%3F%23%26/usage?of=a%20b%2F%C3%BC%3F%23%26".into())
        );
        assert_eq!(path("../admin"), Some("/u/..%2Fadmin/usage?of=..%2Fadmin".into()));
        assert_eq!(path("%2e%2e"), Some("/u/%252e%252e/usage?of=%252e%252e".into()));
        assert_eq!((path("."), path("..")), (None, None));
    }

    #[test]
    fn an_address_that_cannot_work_is_refused() {
        let fault = |text: &str| Endpoint::parse(text).err();
        assert_eq!(fault("http://10.0.0.1:8080/usage.json"), None);
        assert_eq!(fault("panel.example"), Some(EndpointFault::NotAnAddress));
        assert_eq!(fault("https://"), Some(EndpointFault::NotAnAddress));
        assert_eq!(fault("ftp://panel.example/"), Some(EndpointFault::NotHttp));
        assert_eq!(fault("https://me:word@panel.example/"), Some(EndpointFault::Credentials));
        assert_eq!(fault("https://panel{account}.example/"), Some(EndpointFault::AccountInHost));
        assert!(EndpointFault::AccountInHost.to_string().contains("{account}"));
    }
}
