//! Rows as RFC 4180 CSV, made of the rows of the JSON answers, so that both say the same.

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use csv::{Terminator, WriterBuilder};
use serde_json::Value;
use tracing::error;

use super::error::ApiError;

pub(super) const TRENDS: [&str; 7] = ["period", "start", "end", "bytes", "dataUsageGB", "cost", "simCount"];
pub(super) const CARRIERS: [&str; 10] = [
    "id",
    "name",
    "mccmnc",
    "simCount",
    "simPercentage",
    "bytes",
    "dataUsageGB",
    "cost",
    "costPercentage",
    "dataPercentage",
];

/// A file of the rows of a JSON answer.
pub(super) fn of_answer(name: &str, columns: &[&str], answer: &[u8]) -> Result<Response, ApiError> {
    let answer: Value = serde_json::from_slice(answer).map_err(unwritable)?;
    let rows = answer["data"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut text = header_line(columns)?;
    text.extend(lines(columns, rows)?);
    Ok(file(name, Body::from(text)))
}

pub(super) fn file(name: &str, body: Body) -> Response {
    let disposition = format!("attachment; filename=\"{name}\"");
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present"),
        (header::CONTENT_DISPOSITION, disposition.as_str()),
    ];
    (headers, body).into_response()
}

pub(super) fn header_line(columns: &[&str]) -> Result<Vec<u8>, ApiError> {
    written([columns.iter().map(|column| (*column).to_owned()).collect()])
}

/// A line for each row.
pub(super) fn lines(columns: &[&str], rows: &[Value]) -> Result<Vec<u8>, ApiError> {
    written(rows.iter().map(|row| columns.iter().map(|column| cell(row, column)).collect()))
}

fn written(lines: impl IntoIterator<Item = Vec<String>>) -> Result<Vec<u8>, ApiError> {
    let mut writer = WriterBuilder::new().terminator(Terminator::CRLF).from_writer(Vec::new());
    for line in lines {
        writer.write_record(line).map_err(unwritable)?;
    }
    writer.into_inner().map_err(unwritable)
}

fn unwritable(error: impl std::fmt::Display) -> ApiError {
    error!(%error, "rows cannot be written as CSV");
    ApiError::Internal
}

fn cell(row: &Value, column: &str) -> String {
    if let Some(Value::String(digits)) = row.get(format!("{column}Exact")) {
        return digits.clone();
    }
    match row.get(column) {
        Some(Value::String(text)) => guarded(text),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

/// A spreadsheet takes a text that begins like this for a formula and runs it, whoever wrote it. A phone number is none: it
/// becomes a number at worst.
fn guarded(text: &str) -> String {
    let number = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if text.strip_prefix('+').is_some_and(number) {
        return text.to_owned();
    }
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Catches a carrier that is called like a command, a cell that ends its line, and a number with a quote before it.
    #[test]
    fn texts_are_quoted_and_never_formulas() {
        let rows = [
            json!({"name": "=HYPERLINK(\"http://example.org\")", "bytes": -5}),
            json!({"name": "a, b\r\n\"c\"", "bytes": 1e29, "bytesExact": "100000000000000000000000000001"}),
            json!({"name": null}),
            json!({"name": "+41790000009", "bytes": 0}),
            json!({"name": "+4179+1", "bytes": 0}),
        ];
        let text = lines(&["name", "bytes"], &rows).expect("lines");
        let expected = "\"'=HYPERLINK(\"\"http://example.org\"\")\",-5\r\n\
                        \"a, b\r\n\"\"c\"\"\",100000000000000000000000000001\r\n\
                        ,\r\n+41790000009,0\r\n'+4179+1,0\r\n";
        assert_eq!(String::from_utf8(text).expect("UTF-8"), expected);
    }
}
