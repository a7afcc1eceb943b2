//! From a request to the pipeline and back.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::api::ApiState;
use crate::api::caller::Caller;
use crate::api::error::{ApiError, Fault, USAGE_RECORD_DUPLICATE};
use crate::domain::{Permission, Rejection, RejectionCode};
use crate::ingest::queue::{Message, Receipt, Sender, Via};
use crate::payload::Envelope;

/// What a record that the database would not take is told: the database's own words are for operators.
const NOT_TAKEN: &str = "cannot be stored as it is; it was put aside for the operator";

/// What is known of the sender of a body.
pub(super) fn envelope(caller: &Caller, now: DateTime<Utc>) -> Envelope<'static> {
    Envelope {
        tenant: caller.tenant,
        topic_iccid: None,
        own_iccid: None,
        may_correct: caller.may(Permission::UsageCorrect),
        now,
    }
}

/// Hands a body to the writers and waits, a bounded time, for the COMMIT that decides about it.
pub(super) async fn hand_over(
    state: &ApiState,
    caller: &Caller,
    body: Bytes,
    received_at: DateTime<Utc>,
) -> Result<Receipt, ApiError> {
    // During an outage nothing is added to what waits already, so a client that tries again does not fill the queue.
    if !state.database.is_working() {
        return Err(ApiError::Unavailable);
    }
    let (decided, receipt) = oneshot::channel();
    let message = Message {
        sender: Arc::new(Sender {
            tenant: caller.tenant,
            may_correct: caller.may(Permission::UsageCorrect),
            iccid: None,
            via: Via::Http,
            name: caller.name().to_owned(),
        }),
        topic: String::new(),
        topic_iccid: None,
        payload: body,
        received_at,
        acknowledge: Some(Box::new(move |receipt| {
            // Nobody waits any more when the client hung up; the record is stored all the same.
            decided.send(receipt).ok();
        })),
    };
    let deadline = Instant::now() + state.usage.post_timeout;
    let queue = state.posts.queue().ok_or(ApiError::Unavailable)?;
    match timeout_at(deadline, queue.send(message)).await {
        Ok(Ok(())) => {}
        // Cancelled while there was no room, or stopped: nothing was sent.
        Ok(Err(_)) | Err(_) => return Err(ApiError::Unavailable),
    }
    drop(queue);
    match timeout_at(deadline, receipt).await {
        Ok(Ok(receipt)) => Ok(receipt),
        Ok(Err(_)) | Err(_) => Err(ApiError::Undecided),
    }
}

/// What is answered about a record that is not stored.
pub(super) fn refusal(rejection: &Rejection) -> ApiError {
    match rejection.code {
        RejectionCode::NotPermitted => ApiError::Missing(Permission::UsageCorrect),
        RejectionCode::Conflict => {
            ApiError::Conflict { code: USAGE_RECORD_DUPLICATE, message: in_words(rejection) }
        }
        RejectionCode::RefusedByDatabase => ApiError::invalid("", NOT_TAKEN),
        _ => {
            let faults = rejection.faults.iter();
            ApiError::Validation(faults.map(|f| Fault::new(f.field, f.message.clone())).collect())
        }
    }
}

/// The same in one line.
pub(super) fn in_words(rejection: &Rejection) -> String {
    match rejection.code {
        RejectionCode::RefusedByDatabase => NOT_TAKEN.to_owned(),
        _ => rejection.to_string(),
    }
}
