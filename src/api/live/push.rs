use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;

use super::super::ApiState;
use super::super::caller::{Allowed, Need, ReadConsumption};
use super::super::error::ApiError;
use super::feeds::PUSH_EVERY;
use super::figures::LiveFigures;

/// A comment when nothing else is sent, so that proxies and clients see that the connection lives.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Pushes live figures
///
/// Server-Sent Events: the object of `/api/dashboard/stats` at once and then every 5 seconds, each as one `message` event with an id.
/// A client that is too slow gets the newest figures only. The stream ends with the key or session that it was asked with.
#[utoipa::path(
    get, path = "/api/live/dashboard", tag = "Live figures",
    security(("bearer" = ["consumption:read"]), ("apiKey" = ["consumption:read"])),
    responses((status = 200, description = "A stream that does not end", content_type = "text/event-stream", body = LiveFigures)),
)]
pub(super) async fn stream(
    Allowed(caller, ..): Allowed<ReadConsumption>,
    State(state): State<ApiState>,
) -> Result<Response, ApiError> {
    let watcher = state.feeds.watch(caller.tenant)?;
    let events = stream::unfold((watcher, caller, state), async |(mut watcher, caller, state)| {
        let figures = watcher.next().await?;
        if !state.may_still(&caller, ReadConsumption::PERMISSION).await {
            return None;
        }
        let text = String::from_utf8_lossy(&figures.body).into_owned();
        let event = Event::default().id(figures.number.to_string()).retry(PUSH_EVERY).data(text);
        Some((Ok::<_, Infallible>(event), (watcher, caller, state)))
    });
    let stream = Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT));
    // Buffering proxies would hold events back.
    Ok(([("x-accel-buffering", "no")], stream).into_response())
}
