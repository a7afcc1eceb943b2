//! Which page a browser sends a request for.

use axum::http::{HeaderMap, Method, header};

/// Who made the browser send it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    /// A page that came from here.
    Own,
    Other,
    /// Nothing says so: no browser, or a plain link.
    Unknown,
}

/// By Sec-Fetch-Site (W3C Fetch Metadata), which no page can set. Browsers leave it out over plain HTTP; then by Origin.
pub(super) fn sender(headers: &HeaderMap) -> Sender {
    if let Some(site) = headers.get("sec-fetch-site") {
        return if site == "same-origin" { Sender::Own } else { Sender::Other };
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return Sender::Unknown };
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    match (origin, host) {
        (Some((_, authority)), Some(host)) if authority.eq_ignore_ascii_case(host) => Sender::Own,
        _ => Sender::Other,
    }
}

/// Whether a request changes something or, as a WebSocket, can be read by any page: a cookie alone is not enough for it.
pub(super) fn is_delicate(method: &Method, headers: &HeaderMap) -> bool {
    !method.is_safe() || headers.contains_key(header::UPGRADE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_page_from_here_is_ours() {
        for (site, origin, expected) in [
            (Some("same-origin"), None, Sender::Own),
            (Some("same-origin"), Some("http://elsewhere.example"), Sender::Own),
            (Some("same-site"), Some("http://bridge.example:8080"), Sender::Other),
            (Some("cross-site"), None, Sender::Other),
            (Some("none"), None, Sender::Other),
            (None, Some("http://bridge.example:8080"), Sender::Own),
            (None, Some("https://BRIDGE.example:8080"), Sender::Own),
            (None, Some("http://bridge.example"), Sender::Other),
            (None, Some("http://bridge.example:8080.evil.example"), Sender::Other),
            (None, Some("http://evil.example/bridge.example:8080"), Sender::Other),
            (None, Some("null"), Sender::Other),
            (None, None, Sender::Unknown),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, "bridge.example:8080".parse().unwrap());
            for (name, value) in [("sec-fetch-site", site), ("origin", origin)] {
                if let Some(value) = value {
                    headers.insert(name, value.parse().unwrap());
                }
            }
            assert_eq!(sender(&headers), expected, "{site:?} {origin:?}");
        }
    }
}
