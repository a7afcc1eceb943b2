//! `/openapi.json`: made of the routes themselves, so that none can be missing.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use super::envelope::Envelope;
use super::{
    ApiState, alerts, consumption, health, live, operations, pools, portal, quarantine, sessions, sign_in,
    sims, usage,
};

#[derive(OpenApi)]
#[openapi(info(
    title = "simbridge",
    description = "Usage of SIM cards: ingestion, inventory, consumption, live figures and alerts.",
    license(name = "Apache-2.0", identifier = "Apache-2.0")
))]
struct Document;

/// Every route that clients use, with its description.
pub(super) fn documented() -> OpenApiRouter<ApiState> {
    OpenApiRouter::with_openapi(Document::openapi())
        .merge(alerts::routes())
        .merge(consumption::routes())
        .merge(health::routes())
        .merge(live::routes())
        .merge(operations::routes())
        .merge(pools::routes())
        .merge(portal::routes())
        .merge(quarantine::routes())
        .merge(sessions::routes())
        .merge(sign_in::routes())
        .merge(sims::routes())
        .merge(usage::routes())
}

/// The document as text, with what all routes have in common.
pub(super) fn finish(document: utoipa::openapi::OpenApi) -> String {
    let mut document = serde_json::to_value(document).expect("a document of strings and numbers");
    document["components"]["securitySchemes"] = json!({
        "bearer": {"type": "http", "scheme": "bearer", "description": "API key, such as mqs_…"},
        "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        "session": {"type": "apiKey", "in": "cookie", "name": "simbridge_session",
                    "description": "Of somebody who signed in at the dashboard; see POST /api/session"},
    });
    for (name, schema) in error_schemas() {
        document["components"]["schemas"][name] = schema;
    }
    let paths = document["paths"].as_object_mut();
    for (path, operations) in paths.into_iter().flatten() {
        for (_, operation) in operations.as_object_mut().into_iter().flatten() {
            allow_empty(operation);
            describe_need(operation);
            allow_session(operation);
            describe_errors(path, operation);
        }
    }
    document.to_string()
}

pub(super) fn show(document: &str) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], document.to_owned()).into_response()
}

/// Pages send parameters that nobody filled in; an empty one counts as left out.
fn allow_empty(operation: &mut Value) {
    let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
    for parameter in parameters.into_iter().flatten() {
        if parameter["in"] == "query" {
            parameter["allowEmptyValue"] = true.into();
        }
    }
}

/// Says in words which permission is needed; a test compares it with what the route asks.
fn describe_need(operation: &mut Value) {
    let Some(permission) = operation["security"][0]["bearer"][0].as_str() else { return };
    let need = format!("Needs the permission `{permission}`.");
    let text = match operation["description"].as_str() {
        Some(text) if !text.is_empty() => format!("{text}\n\n{need}"),
        _ => need,
    };
    operation["description"] = text.into();
}

/// A session counts wherever a key does.
fn allow_session(operation: &mut Value) {
    if let Some(ways) = operation.get_mut("security").and_then(Value::as_array_mut) {
        let need = ways[0]["bearer"].clone();
        ways.push(json!({"session": need}));
    }
}

/// Adds the answers that any route may give, in the envelope of its path.
fn describe_errors(path: &str, operation: &mut Value) {
    let envelope = Envelope::of(path);
    let (kind, schema) = match envelope {
        Envelope::Portal => ("application/json", "PortalError"),
        Envelope::Resource => ("application/json", "ResourceError"),
        Envelope::Problem => ("application/problem+json", "Problem"),
    };
    let content = json!({kind: {"schema": {"$ref": format!("#/components/schemas/{schema}")}}});
    let secured = operation["security"].is_array();
    let common = [
        ("400", "The request is at fault; every fault is named", true),
        ("401", "No API key, or an unknown one", secured),
        ("403", "The key was revoked, or lacks the permission that is named", secured),
        ("404", "There is no such resource", true),
        ("413", "The body is too large", operation["requestBody"].is_object()),
        ("415", "The body is of another type", operation["requestBody"].is_object()),
        ("429", "Too many requests; Retry-After says when to try again", secured),
        ("500", "A defect; it was logged under the request id", true),
        ("503", "The database is away; Retry-After says when to try again", true),
    ];
    for (status, description, applies) in common {
        if applies && operation["responses"][status].is_null() {
            operation["responses"][status] = json!({"description": description, "content": content});
        } else if applies && operation["responses"][status]["content"].is_null() {
            operation["responses"][status]["content"] = content.clone();
        }
    }
    let summary = operation["summary"].clone();
    for (_, answer) in operation["responses"].as_object_mut().into_iter().flatten() {
        if answer["description"].as_str().is_none_or(str::is_empty) {
            answer["description"] = summary.clone();
        }
    }
    // What a route describes beyond that, such as 409, has the same body.
    for (status, answer) in operation["responses"].as_object_mut().into_iter().flatten() {
        if status.as_str() >= "400" && answer["content"].is_null() {
            answer["content"] = content.clone();
        }
    }
}

fn error_schemas() -> [(&'static str, Value); 3] {
    let fault = json!({"type": "object", "required": ["field", "message"], "properties": {
        "field": {"type": "string", "example": "usage.totalBytes"},
        "message": {"type": "string", "example": "must be a whole number from 0 to 35184372088832"}}});
    [
        (
            "PortalError",
            json!({"type": "object", "required": ["success", "error"], "properties": {
                "success": {"type": "boolean", "const": false},
                "error": {"type": "string", "example": "start_date: must be a date such as 2026-11-21"}}}),
        ),
        (
            "ResourceError",
            json!({"type": "object", "required": ["error", "message"], "properties": {
                "error": {"type": "object", "required": ["code", "message", "requestId"], "properties": {
                    "code": {"type": "string", "example": "VALIDATION_ERROR"},
                    "message": {"type": "string"},
                    "details": {"type": "array", "items": fault},
                    "requestId": {"type": "string"}}},
                "message": {"type": "string"}}}),
        ),
        (
            "Problem",
            json!({"type": "object", "required": ["type", "title", "status", "detail", "code", "requestId"],
                "properties": {
                    "type": {"type": "string"}, "title": {"type": "string"}, "status": {"type": "integer"},
                    "detail": {"type": "string"}, "code": {"type": "string"}, "requestId": {"type": "string"},
                    "errors": {"type": "array", "items": fault}}}),
        ),
    ]
}
