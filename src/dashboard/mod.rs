//! The dashboard: files for a browser, which then asks the API as anybody else does. Nothing here knows any data.

mod build;

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rust_embed::RustEmbed;

use build::{Build, hex};

/// In the program; while debugging they are read from disk at each request.
#[derive(RustEmbed)]
#[folder = "src/dashboard/assets/"]
struct Assets;

/// Where the browser's router shows pages. Nothing else falls back to the page: a wrong path stays a 404.
const PAGES: [&str; 10] = [
    "/",
    "/consumption",
    "/invoices",
    "/sims",
    "/sims/{iccid}",
    "/pools",
    "/pools/{id}",
    "/operations",
    "/quarantine",
    "/sign-in",
];

/// Nothing but files from here: no inline script or style, no other origin, no frame around it.
const POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'";

/// Of every answer of the dashboard.
const HEADERS: [(HeaderName, &str); 3] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
];

/// Asked for again each time, and answered in a few bytes while it stands: a new version shows at once.
const ASK_AGAIN: &str = "no-cache";
/// A year, the longest that HTTP knows: another content has another address.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// The pages and their files, for a router of any state.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    PAGES
        .iter()
        .fold(Router::new(), |router, page| router.route(page, get(index)))
        .route("/assets/{build}/{*path}", get(asset))
}

async fn index(headers: HeaderMap) -> Response {
    let build = Build::now();
    answer(&headers, ASK_AGAIN, "text/html; charset=utf-8", &build.index_tag, build.index.clone())
}

async fn asset(Path((name, path)): Path<(String, String)>, headers: HeaderMap) -> Response {
    let (Some(file), Some(kind)) = (Assets::get(&path), media_type(&path)) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    // While instances are upgraded one after the other, one of them may be asked for the files of another's page. Its own are
    // nearer to those than none, but must not be kept as if they were those.
    let keep = if name == Build::now().name { FOR_EVER } else { ASK_AGAIN };
    let tag = hex(&file.metadata.sha256_hash());
    answer(&headers, keep, kind, &tag, Body::from(file.data.into_owned()))
}

/// A file, or that the browser has it. Its tag is weak, because the body may be compressed on its way (RFC 9110, 8.8.1).
fn answer(
    headers: &HeaderMap,
    keep: &'static str,
    kind: &'static str,
    tag: &str,
    body: impl Into<Body>,
) -> Response {
    let tag = format!("W/\"{tag}\"");
    let known = headers.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    let about = [(header::CACHE_CONTROL, keep), (header::ETAG, tag.as_str())];
    if known.is_some_and(|tags| names(tags, &tag)) {
        return (StatusCode::NOT_MODIFIED, HEADERS, about).into_response();
    }
    (HEADERS, about, [(header::CONTENT_TYPE, kind)], body.into()).into_response()
}

/// Whether `If-None-Match` holds a tag, by weak comparison (RFC 9110, 13.1.2).
fn names(tags: &str, tag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    tags.trim() == "*" || tags.split(',').any(|one| opaque(one) == opaque(tag))
}

/// `None` for files that are not meant to be served.
fn media_type(path: &str) -> Option<&'static str> {
    Some(match path.rsplit_once('.')?.1 {
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
        for path in Assets::iter().filter(|path| path != build::INDEX) {
            assert!(media_type(&path).is_some(), "{path}");
        }
    }
}
