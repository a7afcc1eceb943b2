//! `/docs`: the same document as `/openapi.json`, for people. No script, nothing from elsewhere.

use std::collections::BTreeMap;
use std::fmt::Write;

use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use serde_json::Value;

const PAGE: &str = include_str!("docs.html");
/// In the order in which somebody who begins needs them; other tags follow.
const FIRST: [&str; 4] = ["Ingestion", "SIMs", "Consumption", "Live figures"];

/// The page for a document.
pub(super) fn page(document: &str) -> String {
    let document: Value = serde_json::from_str(document).expect("we made it");
    let mut by_tag: BTreeMap<&str, Vec<(&str, &str, &Value)>> = BTreeMap::new();
    for (path, operations) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in operations.as_object().into_iter().flatten() {
            let tag = operation["tags"][0].as_str().unwrap_or("Other");
            by_tag.entry(tag).or_default().push((method, path, operation));
        }
    }
    let mut tags: Vec<&str> = by_tag.keys().copied().collect();
    tags.sort_by_key(|tag| (FIRST.iter().position(|first| first == tag).unwrap_or(FIRST.len()), *tag));
    let mut routes = String::new();
    for tag in tags {
        write!(routes, "<h2>{}</h2>", escaped(tag)).expect("text can be written");
        for (method, path, operation) in &by_tag[tag] {
            route(&mut routes, method, path, operation);
        }
    }
    PAGE.replace("{{version}}", env!("CARGO_PKG_VERSION")).replace("{{routes}}", &routes)
}

pub(super) fn show(page: &str) -> Response {
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'";
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(page.to_owned())).into_response()
}

fn route(page: &mut String, method: &str, path: &str, operation: &Value) {
    let text = |key: &str| escaped(operation[key].as_str().unwrap_or(""));
    let paragraphs: String =
        text("description").split("\n\n").map(|paragraph| format!("<p>{}</p>", code(paragraph))).collect();
    let parameters = listed(operation["parameters"].as_array().into_iter().flatten().map(|parameter| {
        let name = parameter["name"].as_str().unwrap_or("");
        (name.to_owned(), parameter["description"].as_str().unwrap_or("").to_owned())
    }));
    let answers =
        listed(operation["responses"].as_object().into_iter().flatten().map(|(status, answer)| {
            (status.clone(), answer["description"].as_str().unwrap_or("").to_owned())
        }));
    let section = |title: &str, list: String| {
        if list.is_empty() { list } else { format!("<h4>{title}</h4><dl>{list}</dl>") }
    };
    write!(
        page,
        "<details><summary><b class=\"{method}\">{}</b> <code>{}</code> <span>{}</span></summary>{paragraphs}{}{}</details>",
        method.to_uppercase(),
        escaped(path),
        code(&text("summary")),
        section("Parameters", parameters),
        section("Answers", answers),
    )
    .expect("text can be written");
}

fn listed(pairs: impl Iterator<Item = (String, String)>) -> String {
    pairs
        .map(|(name, text)| format!("<dt>{}</dt><dd>{}</dd>", escaped(&name), code(&escaped(&text))))
        .collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// `text` between backticks as code.
fn code(text: &str) -> String {
    let mut marked = String::new();
    for (number, part) in text.split('`').enumerate() {
        if number % 2 == 1 {
            write!(marked, "<code>{part}</code>").expect("text can be written");
        } else {
            marked.push_str(part);
        }
    }
    marked
}

#[cfg(test)]
mod tests {
    #[test]
    fn text_of_the_document_is_shown_and_not_obeyed() {
        let document = r#"{"paths": {"/a<b>": {"get": {"tags": ["T&T"], "summary": "<script>", "description": "Use `x<y`."}}}}"#;
        let page = super::page(document);
        assert!(
            page.contains("T&amp;T") && page.contains("/a&lt;b&gt;") && page.contains("&lt;script&gt;"),
            "{page}"
        );
        assert!(page.contains("<p>Use <code>x&lt;y</code>.</p>") && !page.contains("<script"), "{page}");
    }
}
