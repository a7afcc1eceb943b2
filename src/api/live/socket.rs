use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::super::ApiState;
use super::super::caller::{Allowed, Caller, Need, ReadConsumption};
use super::super::error::ApiError;
use super::feeds::{Figures, Watcher};

/// Of a message from a client.
const MESSAGE_MAX_BYTES: usize = 4 << 10;
/// A client that has not subscribed by then is closed.
const SUBSCRIBE_WITHIN: Duration = Duration::from_secs(30);
/// From one ping to the next; a client that takes nothing for so long is closed.
const PING_EVERY: Duration = Duration::from_secs(30);

/// What clients say.
#[derive(Deserialize)]
struct Request {
    subscribe: String,
}

/// Pushes live figures over a WebSocket
///
/// Send `{"subscribe":"tenant.1.dashboard-stats"}`; each message then has the channel and the object of `/api/dashboard/stats`. The channel
/// of another tenant is refused and the connection closed with 1008, as it is when the key or session ended.
#[utoipa::path(
    get, path = "/ws", tag = "Live figures",
    security(("bearer" = ["consumption:read"]), ("apiKey" = ["consumption:read"])),
    responses((status = 101, description = "The WebSocket is open")),
)]
pub(super) async fn connect(
    Allowed(caller, ..): Allowed<ReadConsumption>,
    State(state): State<ApiState>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let upgrade = upgrade.map_err(|_| ApiError::invalid("", "this is a WebSocket: send its handshake"))?;
    // The slot is taken now: a client that may not watch is told so by an answer.
    let watcher = state.feeds.watch(caller.tenant)?;
    Ok(upgrade
        .max_message_size(MESSAGE_MAX_BYTES)
        .max_frame_size(MESSAGE_MAX_BYTES)
        .on_upgrade(async move |socket| serve(socket, watcher, caller, state).await))
}

async fn serve(mut socket: WebSocket, watcher: Watcher, caller: Caller, state: ApiState) {
    let ended = talk(&mut socket, watcher, &caller, &state).await;
    if let Some((code, reason)) = ended {
        let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
        // Best effort: the client may be gone.
        send(&mut socket, Message::Close(Some(frame))).await.ok();
    }
}

/// Until one side ends it; with which code and reason, if it is ours to say.
async fn talk(
    socket: &mut WebSocket,
    mut watcher: Watcher,
    caller: &Caller,
    state: &ApiState,
) -> Option<(u16, &'static str)> {
    let channel = format!("tenant.{}.dashboard-stats", caller.tenant.0);
    let mut subscribed = false;
    let deadline = tokio::time::sleep(SUBSCRIBE_WITHIN);
    let stopped = watcher.stopped();
    tokio::pin!(deadline, stopped);
    let mut pings = tokio::time::interval(PING_EVERY);
    pings.reset();
    loop {
        tokio::select! {
            received = socket.recv() => match received {
                Some(Ok(Message::Text(text))) => {
                    let answer = match serde_json::from_str::<Request>(&text) {
                        Ok(request) if request.subscribe == channel => {
                            subscribed = true;
                            watcher.again();
                            json!({"subscribed": channel})
                        }
                        Ok(_) => {
                            let error = json!({"error": "this channel is not yours", "code": "FORBIDDEN"});
                            send(socket, Message::Text(error.to_string().into())).await.ok()?;
                            return Some((close_code::POLICY, "this channel is not yours"));
                        }
                        Err(_) => json!({"error": format!("send {{\"subscribe\":\"{channel}\"}}")}),
                    };
                    send(socket, Message::Text(answer.to_string().into())).await.ok()?;
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            },
            figures = watcher.next(), if subscribed => match figures {
                Some(_) if !state.may_still(caller, ReadConsumption::PERMISSION).await => {
                    return Some((close_code::POLICY, "the key or session ended"));
                }
                Some(figures) => send(socket, pushed(&channel, &figures)).await.ok()?,
                None => return Some((close_code::AWAY, "the program ends")),
            },
            () = &mut stopped => return Some((close_code::AWAY, "the program ends")),
            _ = pings.tick() => send(socket, Message::Ping(bytes::Bytes::new())).await.ok()?,
            () = &mut deadline, if !subscribed => return Some((close_code::POLICY, "nothing was subscribed to")),
        }
    }
}

fn pushed(channel: &str, figures: &Figures) -> Message {
    let body: &RawValue = serde_json::from_slice(&figures.body).expect("we made it");
    Message::Text(json!({"channel": channel, "message": body}).to_string().into())
}

/// A client that does not take a message in time is given up.
async fn send(socket: &mut WebSocket, message: Message) -> Result<(), ()> {
    match tokio::time::timeout(PING_EVERY, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(()),
    }
}
