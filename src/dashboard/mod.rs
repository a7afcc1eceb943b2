//! The dashboard: files for a browser, which then asks the API as anybody else does. Nothing here knows any data.

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rust_embed::{EmbeddedFile, RustEmbed};

/// In the program; while debugging they are read from disk at each request.
#[derive(RustEmbed)]
#[folder = "src/dashboard/assets/"]
struct Assets;

/// What the page at all of [`PAGES`] is.
const INDEX: &str = "index.html";

/// Where the browser's router shows pages. Nothing else falls back to the page: a wrong path stays a 404.
const PAGES: [&str; 8] =
    ["/", "/consumption", "/invoices", "/sims", "/sims/{iccid}", "/operations", "/quarantine", "/sign-in"];

/// Nothing but files from here: no inline script or style, no other origin, no frame around it.
const POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'";

/// Of every answer of the dashboard.
const HEADERS: [(HeaderName, &str); 4] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    // Asked for again each time, and answered in a few bytes while it stands: a new version shows at once.
    (header::CACHE_CONTROL, "no-cache"),
];

/// The pages and their files, for a router of any state.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    PAGES
        .iter()
        .fold(Router::new(), |router, page| router.route(page, get(index)))
        .route("/assets/{*path}", get(asset))
}

async fn index(headers: HeaderMap) -> Response {
    answer(INDEX, &headers)
}

async fn asset(Path(path): Path<String>, headers: HeaderMap) -> Response {
    answer(&path, &headers)
}

fn answer(path: &str, headers: &HeaderMap) -> Response {
    let (Some(file), Some(kind)) = (Assets::get(path), media_type(path)) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let tag = entity_tag(&file);
    let known = headers.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    let tags = [(header::ETAG, tag.as_str())];
    if known.is_some_and(|tags| names(tags, &tag)) {
        return (StatusCode::NOT_MODIFIED, HEADERS, tags).into_response();
    }
    (HEADERS, tags, [(header::CONTENT_TYPE, kind)], Body::from(file.data.into_owned())).into_response()
}

/// Weak, because the body may be compressed on its way (RFC 9110, 8.8.1).
fn entity_tag(file: &EmbeddedFile) -> String {
    let hash: String = file.metadata.sha256_hash()[..12].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("W/\"{hash}\"")
}

/// Whether `If-None-Match` holds a tag, by weak comparison (RFC 9110, 13.1.2).
fn names(tags: &str, tag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    tags.trim() == "*" || tags.split(',').any(|one| opaque(one) == opaque(tag))
}

/// `None` for files that are not meant to be served.
fn media_type(path: &str) -> Option<&'static str> {
    Some(match path.rsplit_once('.')?.1 {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_weakly() {
        let tag = "W/\"ab\"";
        for tags in ["W/\"ab\"", "\"ab\"", "\"x\", W/\"ab\"", "*"] {
            assert!(names(tags, tag), "{tags}");
        }
        for tags in ["\"a\"", "", "W/\"abc\""] {
            assert!(!names(tags, tag), "{tags}");
        }
    }

    /// Catches a file of a kind that nobody thought of, which would be embedded and never served.
    #[test]
    fn every_file_has_a_type() {
        for path in Assets::iter() {
            assert!(media_type(&path).is_some(), "{path}");
        }
    }
}
