use axum::extract::State;
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};

use super::ApiState;

const PAGE: &str = include_str!("start_page.html");

/// One page that says what runs here, what it has done, and what to try next. No script, nothing from elsewhere.
pub(super) async fn show(State(state): State<ApiState>) -> Response {
    let balance = state.metrics.ingest.balance();
    let address = state.mqtt_addr.map_or("no plain TCP port".to_owned(), |address| address.to_string());
    let (host, port) = state
        .mqtt_addr
        .map_or(("HOST".to_owned(), "1883".to_owned()), |a| (a.ip().to_string(), a.port().to_string()));
    let page = PAGE
        .replace("{{version}}", env!("CARGO_PKG_VERSION"))
        .replace("{{mqtt}}", &address)
        .replace("{{host}}", &host)
        .replace("{{port}}", &port)
        .replace("{{received}}", &grouped(balance.received))
        .replace("{{stored}}", &grouped(balance.stored))
        .replace("{{duplicate}}", &grouped(balance.duplicate))
        .replace("{{parked}}", &grouped(balance.parked))
        .replace("{{in_flight}}", &grouped(balance.in_flight));
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'";
    ([(header::CONTENT_SECURITY_POLICY, policy), (header::CACHE_CONTROL, "no-store")], Html(page))
        .into_response()
}

/// 1234567 as 1 234 567, with narrow spaces that do not break.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn thousands_are_grouped() {
        assert_eq!(super::grouped(0), "0");
        assert_eq!(super::grouped(1_234_567), "1\u{202f}234\u{202f}567");
    }
}
