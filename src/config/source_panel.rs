use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::source::panel::{Endpoint, Unit};

/// A panel whose usage figures simbridge reads over HTTP.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct PanelSourceConfig {
    /// In metrics, logs, session ids and with parked records.
    pub name: String,
    /// `https://` or `http://`, with `{account}` where each account has an address of its own.
    pub url: String,
    /// Pointer to the list in an answer for all accounts.
    pub list: String,
    /// Pointer to the account in each element of the list.
    pub account: String,
    /// Accounts that are read; empty for all of the list, or those that were named for this source.
    pub accounts: Vec<String>,
    /// In whose name records arrive.
    pub tenant: String,
    /// `none`, `bearer`, `basic` or `header`.
    pub auth: String,
    /// File that holds the token, `user:password`, or the value of the header.
    pub auth_file: PathBuf,
    /// Name of the header for `header`.
    pub auth_header: String,
    /// Pointers to the total, the first match counts.
    pub total: Vec<String>,
    /// Pointers to each direction, where no total is found.
    pub upload: Vec<String>,
    pub download: Vec<String>,
    /// `bytes`, `KB`, `MB`, `GB` or `TB`, of the figures above.
    pub unit: String,
    /// Pointers to a figure in `used_unit`, where nothing of the above is found.
    pub used: Vec<String>,
    pub used_unit: String,
    /// 1024 or 1000.
    pub unit_base: u32,
    /// `base` or `counts`.
    pub first_reading: String,
    /// A value below this share of the one before may be a reset.
    pub reset_below_percent: u8,
    /// How old an answer may be.
    pub stale_minutes: u32,
    pub timeout_seconds: u64,
    pub retry_first_ms: u64,
    pub max_response_bytes: usize,
    /// Requests at a time.
    pub max_concurrent: usize,
    pub max_accounts: usize,
    /// PEM file with the authority of the panel's certificate, beside the machine's own.
    pub ca_file: PathBuf,
}

impl Default for PanelSourceConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            url: String::new(),
            list: String::new(),
            account: String::new(),
            accounts: Vec::new(),
            tenant: "default".into(),
            auth: "none".into(),
            auth_file: PathBuf::new(),
            auth_header: String::new(),
            total: Vec::new(),
            upload: Vec::new(),
            download: Vec::new(),
            unit: "bytes".into(),
            used: Vec::new(),
            used_unit: "GB".into(),
            unit_base: 1_024,
            first_reading: "base".into(),
            reset_below_percent: 50,
            stale_minutes: 15,
            timeout_seconds: 20,
            retry_first_ms: 1_000,
            max_response_bytes: 4 << 20,
            max_concurrent: 4,
            max_accounts: 10_000,
            ca_file: PathBuf::new(),
        }
    }
}

impl PanelSourceConfig {
    pub(super) fn fault(&self) -> Option<(&'static str, String)> {
        match Endpoint::parse(&self.url) {
            Err(fault) => return Some(("url", fault.to_string())),
            Ok(endpoint) if endpoint.is_for_one() != self.account.is_empty() => {
                let problem = "tells apart the accounts of one answer: state either it or {account} in `url`";
                return Some(("account", problem.into()));
            }
            Ok(_) => {}
        }
        self.fault_of_login().or_else(|| self.fault_of_mapping()).or_else(|| {
            let bounds = [
                ("reset_below_percent", u64::from(self.reset_below_percent), 1, 100),
                ("stale_minutes", self.stale_minutes.into(), 0, 1_440),
                ("timeout_seconds", self.timeout_seconds, 1, 300),
                ("retry_first_ms", self.retry_first_ms, 1, 60_000),
                ("max_response_bytes", self.max_response_bytes as u64, 1_024, 64 << 20),
                ("max_concurrent", self.max_concurrent as u64, 1, 64),
                ("max_accounts", self.max_accounts as u64, 1, 100_000),
            ];
            let broken = bounds.into_iter().find(|(_, value, least, most)| !(least..=most).contains(&value));
            broken.map(|(key, _, least, most)| (key, format!("must be from {least} to {most}")))
        })
    }

    fn fault_of_login(&self) -> Option<(&'static str, String)> {
        let (file, header) = (!self.auth_file.as_os_str().is_empty(), !self.auth_header.is_empty());
        match self.auth.as_str() {
            "none" if file => Some(("auth", "is `none` beside an `auth_file`".into())),
            "none" => None,
            "bearer" | "basic" | "header" if !file => Some(("auth_file", "must name a file".into())),
            "header" if header_name(&self.auth_header).is_none() => {
                Some(("auth_header", "must name a header, such as X-API-Key".into()))
            }
            "bearer" | "basic" if header => Some(("auth_header", "is for `auth = \"header\"`".into())),
            "bearer" | "basic" | "header" => None,
            _ => Some(("auth", "must be none, bearer, basic or header".into())),
        }
    }

    fn fault_of_mapping(&self) -> Option<(&'static str, String)> {
        let pointers = [
            ("list", std::slice::from_ref(&self.list)),
            ("account", std::slice::from_ref(&self.account)),
            ("total", &self.total),
            ("upload", &self.upload),
            ("download", &self.download),
            ("used", &self.used),
        ];
        let is_pointer = |pointer: &String| pointer.is_empty() || pointer.starts_with('/');
        if let Some((key, _)) = pointers.into_iter().find(|(_, of)| !of.iter().all(is_pointer)) {
            return Some((key, "must be a JSON pointer (RFC 6901), such as /data/total".into()));
        }
        if self.upload.is_empty() != self.download.is_empty() {
            return Some(("upload", "and `download` belong together".into()));
        }
        if self.total.is_empty() && self.upload.is_empty() && self.used.is_empty() {
            return Some((
                "total",
                "or `upload` and `download`, or `used` must say where the usage stands".into(),
            ));
        }
        for (key, unit) in [("unit", &self.unit), ("used_unit", &self.used_unit)] {
            if Unit::parse(unit, 1_024).is_none() {
                return Some((key, "must be bytes, KB, MB, GB or TB".into()));
            }
        }
        if ![1_000, 1_024].contains(&self.unit_base) {
            return Some(("unit_base", "must be 1024 or 1000".into()));
        }
        if !["base", "counts"].contains(&self.first_reading.as_str()) {
            return Some(("first_reading", "must be base or counts".into()));
        }
        None
    }
}

/// A header that may hold a secret.
pub(crate) fn header_name(text: &str) -> Option<reqwest::header::HeaderName> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> PanelSourceConfig {
        PanelSourceConfig {
            name: "isp".into(),
            url: "https://panel.example/users/{account}".into(),
            total: vec!["/total".into()],
            ..PanelSourceConfig::default()
        }
    }

    fn fault(config: PanelSourceConfig) -> Option<&'static str> {
        config.fault().map(|(key, _)| key)
    }

    #[test]
    fn a_name_an_address_and_one_figure_suffice() {
        assert_eq!(fault(good()), None);
        let list =
            PanelSourceConfig { url: "http://panel.example/all".into(), account: "/id".into(), ..good() };
        assert_eq!(fault(list.clone()), None);
        assert_eq!(fault(PanelSourceConfig { account: String::new(), ..list.clone() }), Some("account"));
        assert_eq!(fault(PanelSourceConfig { account: "/id".into(), ..good() }), Some("account"));
    }

    #[test]
    fn what_cannot_work_is_named() {
        assert_eq!(fault(PanelSourceConfig { url: "panel".into(), ..good() }), Some("url"));
        assert_eq!(fault(PanelSourceConfig { total: Vec::new(), ..good() }), Some("total"));
        assert_eq!(fault(PanelSourceConfig { total: vec!["total".into()], ..good() }), Some("total"));
        assert_eq!(fault(PanelSourceConfig { upload: vec!["/u".into()], ..good() }), Some("upload"));
        assert_eq!(fault(PanelSourceConfig { unit: "GiB".into(), ..good() }), Some("unit"));
        assert_eq!(fault(PanelSourceConfig { unit_base: 1_023, ..good() }), Some("unit_base"));
        assert_eq!(fault(PanelSourceConfig { auth: "digest".into(), ..good() }), Some("auth"));
        assert_eq!(fault(PanelSourceConfig { auth: "bearer".into(), ..good() }), Some("auth_file"));
        let file = || PanelSourceConfig { auth_file: "/token".into(), ..good() };
        assert_eq!(fault(file()), Some("auth"));
        assert_eq!(fault(PanelSourceConfig { auth: "basic".into(), ..file() }), None);
        let header =
            |name: &str| PanelSourceConfig { auth: "header".into(), auth_header: name.into(), ..file() };
        assert_eq!(fault(header("X-API-Key")), None);
        assert_eq!(fault(header("X API")), Some("auth_header"));
        assert_eq!(fault(PanelSourceConfig { first_reading: "all".into(), ..good() }), Some("first_reading"));
        assert_eq!(fault(PanelSourceConfig { max_concurrent: 0, ..good() }), Some("max_concurrent"));
        assert_eq!(
            fault(PanelSourceConfig { reset_below_percent: 0, ..good() }),
            Some("reset_below_percent")
        );
    }
}
