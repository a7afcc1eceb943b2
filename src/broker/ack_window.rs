//! The in-flight window of what a client has published: PUBACK and PUBREC leave in the order in which the PUBLISHes
//! came, each only when its outcome is known. Several writers commit out of order, so the committed prefix is released.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hasher};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::Notify;

use crate::ingest::queue::{Acknowledge, Receipt};

use super::codec::AckType;
use super::reply::{Verdict, outcome_json};

/// Memory that an unacknowledged message costs besides its payload.
const SLOT_OVERHEAD_BYTES: usize = 512;
/// Unanswered messages of earlier connections that a session remembers. One that is forgotten is stored again when it
/// is resent, which its key makes harmless.
const MAX_ORPHANS: usize = 4096;

/// Where the outcome of a message is asked for (MQTT 5 request/response).
#[derive(Debug)]
pub(super) struct ReplyTo {
    pub(super) topic: String,
    pub(super) correlation_data: Option<Bytes>,
}

impl ReplyTo {
    fn bytes(&self) -> usize {
        self.topic.len() + self.correlation_data.as_ref().map_or(0, Bytes::len)
    }
}

/// The outcome of a message, set once by whoever decides it.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) verdict: Verdict,
    /// JSON for the Response Topic, when there is one.
    pub(super) reply: Option<Bytes>,
}

/// `None` inside: the pipeline gave the message up, and nobody knows whether it is stored.
type Pending = Arc<OnceLock<Option<Outcome>>>;

/// The pipeline gave up the message whose turn it is. There is no answer to it; the client must send it again.
#[derive(Clone, Copy, Debug, Error)]
#[error("given up")]
pub(super) struct GivenUp;

/// Decides a message, in whichever way it leaves the pipeline.
struct Decision {
    outcome: Pending,
    signal: Arc<Notify>,
    wants_reply: bool,
}

impl Decision {
    fn decide(&self, receipt: &Receipt) {
        let reply = self.wants_reply.then(|| outcome_json(receipt));
        // It is called once, so the cell is empty.
        let _ = self.outcome.set(Some(Outcome { verdict: Verdict::of(receipt), reply }));
    }
}

impl Drop for Decision {
    fn drop(&mut self) {
        // Without effect when it was decided. Otherwise the client would wait for ever, and so would every resend.
        let _ = self.outcome.set(None);
        self.signal.notify_one();
    }
}

/// A message that has not been answered yet.
#[derive(Debug)]
pub(super) struct Slot {
    /// `None`: QoS 0 with a Response Topic.
    pub(super) answer: Option<(AckType, u16)>,
    pub(super) received: Instant,
    /// Counts for the latency of PUBACK: it waited for a commit.
    pub(super) usage: bool,
    pub(super) reply_to: Option<Box<ReplyTo>>,
    digest: u64,
    charge: usize,
    outcome: Pending,
}

impl Slot {
    pub(super) fn outcome(&self) -> Option<&Outcome> {
        self.outcome.get()?.as_ref()
    }

    fn is_given_up(&self) -> bool {
        self.outcome.get().is_some_and(Option::is_none)
    }
}

/// A PUBLISH about to be put into the window.
pub(super) struct Arrival {
    pub(super) answer: Option<(AckType, u16)>,
    pub(super) received: Instant,
    pub(super) digest: u64,
    pub(super) payload_bytes: usize,
    pub(super) reply_to: Option<Box<ReplyTo>>,
}

/// The window of one session.
#[derive(Default)]
pub(super) struct AckWindow {
    slots: VecDeque<Slot>,
    /// Number of the slot at the front; slots are numbered through.
    first: u64,
    /// Slot numbers by what they answer.
    pending: HashMap<(AckTypeKey, u16), u64>,
    /// Unanswered messages of an earlier connection of this session. The client will send them again.
    orphans: HashMap<(AckTypeKey, u16), Slot>,
    charged_bytes: usize,
    signal: Arc<Notify>,
}

type AckTypeKey = bool;

fn key((ack, pkid): (AckType, u16)) -> (AckTypeKey, u16) {
    (ack == AckType::PubRec, pkid)
}

/// Identifies a resent PUBLISH.
pub(super) fn digest(topic: &[u8], payload: &[u8]) -> u64 {
    let mut hash = DefaultHasher::new();
    hash.write_usize(topic.len());
    hash.write(topic);
    hash.write(payload);
    hash.finish()
}

impl AckWindow {
    /// Notified whenever an outcome arrives.
    pub(super) fn signal(&self) -> Arc<Notify> {
        self.signal.clone()
    }

    /// Messages without an answer.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Bytes of memory that the unanswered messages are charged with.
    pub(super) fn charged_bytes(&self) -> usize {
        self.charged_bytes
    }

    /// True when this PUBLISH is in the window already, now or from an earlier connection: it is a resend, will be
    /// answered with the first one and must not be queued again.
    pub(super) fn attach(&mut self, answer: (AckType, u16), digest: u64) -> bool {
        let key = key(answer);
        if let Some(number) = self.pending.get(&key) {
            let index = usize::try_from(number - self.first).unwrap_or(usize::MAX);
            return self.slots.get(index).is_some_and(|slot| slot.digest == digest);
        }
        match self.orphans.remove(&key) {
            Some(slot) if slot.digest == digest && !slot.is_given_up() => {
                self.push(slot);
                true
            }
            _ => false,
        }
    }

    /// Takes a message whose answer is known at once; it still waits for its turn.
    pub(super) fn push_decided(&mut self, arrival: Arrival, verdict: Verdict) {
        let outcome = Arc::new(OnceLock::from(Some(Outcome { verdict, reply: None })));
        self.push(Slot {
            answer: arrival.answer,
            received: arrival.received,
            usage: false,
            reply_to: None,
            digest: arrival.digest,
            charge: SLOT_OVERHEAD_BYTES,
            outcome,
        });
    }

    /// Takes a message on its way to the database and returns what the pipeline calls after COMMIT.
    pub(super) fn push_awaiting(&mut self, arrival: Arrival) -> Acknowledge {
        let outcome = Pending::default();
        let decision = Decision {
            outcome: outcome.clone(),
            signal: self.signal.clone(),
            wants_reply: arrival.reply_to.is_some(),
        };
        let reply_bytes = arrival.reply_to.as_ref().map_or(0, |to| to.bytes());
        self.push(Slot {
            answer: arrival.answer,
            received: arrival.received,
            usage: true,
            reply_to: arrival.reply_to,
            digest: arrival.digest,
            charge: SLOT_OVERHEAD_BYTES + arrival.payload_bytes + reply_bytes,
            outcome,
        });
        Box::new(move |receipt: Receipt| decision.decide(&receipt))
    }

    fn push(&mut self, slot: Slot) {
        if let Some(answer) = slot.answer {
            self.pending.insert(key(answer), self.first + self.slots.len() as u64);
        }
        self.charged_bytes += slot.charge;
        self.slots.push_back(slot);
    }

    /// The message whose turn it is, when its outcome is known.
    pub(super) fn release(&mut self) -> Result<Option<Slot>, GivenUp> {
        let Some(front) = self.slots.front() else { return Ok(None) };
        if front.is_given_up() && front.answer.is_some() {
            return Err(GivenUp);
        }
        if front.outcome.get().is_none() {
            return Ok(None);
        }
        let Some(slot) = self.slots.pop_front() else { return Ok(None) };
        if let Some(answer) = slot.answer
            && self.pending.get(&key(answer)) == Some(&self.first)
        {
            self.pending.remove(&key(answer));
        }
        self.first += 1;
        self.charged_bytes -= slot.charge;
        Ok(Some(slot))
    }

    /// The connection is gone: what it still waited for is answered when the client sends it again.
    pub(super) fn orphan_all(&mut self) {
        self.pending.clear();
        self.first += self.slots.len() as u64;
        self.charged_bytes = 0;
        if self.orphans.len() + self.slots.len() > MAX_ORPHANS {
            self.orphans.clear();
        }
        let excess = self.slots.len().saturating_sub(MAX_ORPHANS);
        self.slots.drain(..excess);
        for slot in self.slots.drain(..) {
            if let Some(answer) = slot.answer {
                self.orphans.insert(key(answer), slot);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(pkid: u16, digest: u64) -> Arrival {
        Arrival {
            answer: Some((AckType::PubAck, pkid)),
            received: Instant::now(),
            digest,
            payload_bytes: 10,
            reply_to: None,
        }
    }

    fn commit(acknowledge: Acknowledge) {
        acknowledge(Receipt { batch_id: None, records: Vec::new() });
    }

    fn released(window: &mut AckWindow) -> Vec<u16> {
        std::iter::from_fn(|| window.release().unwrap()).filter_map(|slot| slot.answer.map(|a| a.1)).collect()
    }

    #[test]
    fn only_the_committed_prefix_is_released() {
        let mut window = AckWindow::default();
        let first = window.push_awaiting(arrival(1, 1));
        let second = window.push_awaiting(arrival(2, 2));
        window.push_decided(arrival(3, 3), Verdict::Accepted);
        commit(second);
        assert_eq!(released(&mut window), [0; 0]);
        commit(first);
        assert_eq!(released(&mut window), [1, 2, 3]);
        assert_eq!((window.len(), window.charged_bytes()), (0, 0));
    }

    #[test]
    fn a_resend_attaches_to_the_message_that_is_waiting() {
        let mut window = AckWindow::default();
        let waiting = window.push_awaiting(arrival(7, 70));
        assert!(window.attach((AckType::PubAck, 7), 70));
        assert!(!window.attach((AckType::PubAck, 7), 71), "other content is another message");
        assert!(!window.attach((AckType::PubRec, 7), 70), "QoS 2 is another exchange");
        commit(waiting);
        assert_eq!(released(&mut window), [7]);
        assert!(!window.attach((AckType::PubAck, 7), 70), "an answered id is free again");
    }

    #[test]
    fn a_resend_on_the_next_connection_attaches_too() {
        let mut window = AckWindow::default();
        let waiting = window.push_awaiting(arrival(7, 70));
        window.orphan_all();
        assert_eq!((window.len(), window.charged_bytes()), (0, 0));
        commit(waiting);
        assert_eq!(released(&mut window), [0; 0], "nothing is answered before the client asks again");
        assert!(window.attach((AckType::PubAck, 7), 70));
        assert_eq!(released(&mut window), [7]);
    }

    #[test]
    fn a_message_that_was_given_up_is_never_answered_and_not_attached_to() {
        let mut window = AckWindow::default();
        let first = window.push_awaiting(arrival(1, 10));
        drop(window.push_awaiting(arrival(2, 20)));
        assert!(window.release().unwrap().is_none(), "it is not its turn");
        commit(first);
        assert_eq!(window.release().unwrap().unwrap().answer, Some((AckType::PubAck, 1)));
        assert!(window.release().is_err());
        window.orphan_all();
        assert!(!window.attach((AckType::PubAck, 2), 20));
    }

    #[test]
    fn a_session_remembers_a_bounded_number_of_unanswered_messages() {
        let mut window = AckWindow::default();
        for round in 0..3 {
            for pkid in 1..=3000 {
                drop(window.push_awaiting(arrival(round * 3000 + pkid, 1)));
            }
            window.orphan_all();
        }
        assert_eq!(window.orphans.len(), 3000);
    }

    #[test]
    fn an_id_used_for_other_content_does_not_disturb_the_older_one() {
        let mut window = AckWindow::default();
        let old = window.push_awaiting(arrival(7, 70));
        let new = window.push_awaiting(arrival(7, 71));
        commit(old);
        assert_eq!(released(&mut window), [7]);
        assert!(window.attach((AckType::PubAck, 7), 71));
        commit(new);
        assert_eq!(released(&mut window), [7]);
    }
}
