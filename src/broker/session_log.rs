//! Sessions as they are stored: what the broker tells a table, and what it is told by one at its start.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rumqttd::protocol::QoS;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::TenantId;

use super::Hub;
use super::acl::Principal;
use super::journal::Journal;
use super::outbox::Delivery;
use super::registry::{ClientKey, Registry};
use super::session::Session;
use super::session_record::{Header, SessionRecord};
use super::stored_message;
use super::stored_will::StoredWill;

/// Messages of one session that are written at a time.
pub(super) const MESSAGES_AT_ONCE: usize = 500;
/// Their payloads and topics; one message more than this is taken.
pub(super) const BYTES_AT_ONCE: usize = 1024 * 1024;

/// A session without the broker's own types.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredSession {
    pub tenant: TenantId,
    pub client_id: String,
    /// `anonymous`, `user:NAME` or `key:ID`.
    pub owner: String,
    /// How long it outlives its connection.
    pub keep: Duration,
    /// What is left of that; `None` while the client is connected.
    pub expires_in: Option<Duration>,
    /// As JSON, the oldest first.
    pub subscriptions: Value,
    /// Packet ids of QoS 2 messages from the client between PUBREC and PUBREL.
    pub received: Vec<u16>,
    pub last_packet_id: u16,
    /// It waits for its delay, or for the end of the session.
    pub will: Option<StoredWill>,
}

/// A message that waits for a session's client.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredMessage {
    /// Order within the session.
    pub position: u64,
    pub topic: String,
    pub payload: Bytes,
    /// 1 or 2.
    pub qos: u8,
    pub retain: bool,
    /// As JSON; `None` without any.
    pub properties: Option<Value>,
    pub identifiers: Vec<u32>,
    /// What is left of the message expiry interval; `None` without one.
    pub expires_in: Option<Duration>,
    /// Of a message that was sent and not acknowledged.
    pub packet_id: Option<u16>,
    /// QoS 2: PUBREC came.
    pub released: bool,
}

impl StoredMessage {
    /// `None` for QoS 0, which is not stored, and for what has expired.
    pub(super) fn of(delivery: &Delivery, position: u64, now: Instant) -> Option<Self> {
        let publication = &delivery.publication;
        let left = publication.remaining_expiry(now)?;
        if delivery.qos == QoS::AtMostOnce {
            return None;
        }
        Some(Self {
            position,
            topic: publication.topic.to_string(),
            payload: publication.payload.clone(),
            qos: delivery.qos as u8,
            retain: delivery.retain,
            properties: stored_message::properties(publication),
            identifiers: delivery.identifiers.iter().filter_map(|id| u32::try_from(*id).ok()).collect(),
            expires_in: left.map(|seconds| Duration::from_secs(seconds.into())),
            packet_id: None,
            released: false,
        })
    }

    pub(super) fn into_delivery(self, tenant: TenantId) -> Delivery {
        let qos = stored_message::qos(self.qos);
        let mut publication =
            stored_message::publication((tenant, self.topic), self.payload, self.properties, self.expires_in);
        publication.qos = qos;
        // Who shares it decides anew whether it is passed on as retained.
        publication.retain = self.retain;
        Delivery {
            publication: Arc::new(publication),
            qos,
            retain: self.retain,
            identifiers: self.identifiers.into_iter().map(|id| id as usize).collect(),
            share: None,
        }
    }
}

/// A subscription as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StoredSubscription {
    /// As the client wrote it, with `$share/{group}/`.
    pub(super) filter: String,
    pub(super) qos: u8,
    #[serde(default)]
    pub(super) no_local: bool,
    #[serde(default)]
    pub(super) retain_as_published: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) identifier: Option<usize>,
}

/// What changed of one session.
pub struct SessionChange {
    pub tenant: TenantId,
    pub client_id: String,
    /// `None`: nothing but its messages changed.
    pub session: Option<StoredSession>,
    /// Older messages are acknowledged.
    pub oldest_sent: u64,
    /// Older messages that were never sent gave way or are acknowledged.
    pub oldest_waiting: u64,
    /// All that was sent and is not acknowledged stands in `messages`.
    pub sent_is_new: bool,
    pub messages: Vec<StoredMessage>,
    record: Arc<SessionRecord>,
    stored_to: u64,
}

/// What changed since it was asked last. What is gone went before what changed.
#[derive(Default)]
pub struct SessionChanges {
    pub changed: Vec<SessionChange>,
    pub gone: Vec<(TenantId, String)>,
    gone_records: Vec<Arc<SessionRecord>>,
}

impl SessionChanges {
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.gone.is_empty()
    }
}

/// The sessions of a broker. It outlives the broker, so that the last changes can be stored after it has ended.
#[derive(Clone)]
pub struct SessionLog {
    journal: Arc<Journal<SessionRecord>>,
    /// When the broker ends its sessions go on until they are written down: a session that is dropped has ended, and what waits in
    /// it is gone.
    _sessions: Arc<Registry>,
}

impl SessionLog {
    pub(super) fn new(hub: &Hub) -> Self {
        hub.journal.open();
        Self { journal: hub.journal.clone(), _sessions: hub.registry.clone() }
    }

    /// At most `limit` sessions that changed. The caller stores them and says so, or gives them back.
    pub fn take(&self, limit: usize) -> SessionChanges {
        let mut taken = SessionChanges::default();
        for _ in 0..limit {
            let Some(record) = self.journal.next() else { break };
            if record.lock().gone {
                taken.gone.push((record.key.0, record.key.1.to_string()));
                taken.gone_records.push(record);
            } else {
                taken.changed.push(change(record));
            }
        }
        taken
    }

    /// The table shows it.
    pub fn stored(&self, changes: SessionChanges) {
        for change in changes.changed {
            let mut state = change.record.lock();
            state.stored_to = state.stored_to.max(change.stored_to);
            let all_acknowledged = state.oldest >= state.stored_to;
            change.record.set_has_messages(!all_acknowledged);
        }
    }

    pub fn give_back(&self, changes: SessionChanges) {
        let mut records = changes.gone_records;
        for change in changes.changed {
            change.record.lock().header_changed |= change.session.is_some();
            records.push(change.record);
        }
        self.journal.give_back(records);
    }
}

fn change(record: Arc<SessionRecord>) -> SessionChange {
    let now = Instant::now();
    let mut state = record.lock();
    let header_changed = std::mem::take(&mut state.header_changed);
    let parked = state.header.ends.is_some();
    let mut messages = Vec::new();
    if header_changed && parked {
        messages.extend(state.sent.iter().cloned());
    }
    let (oldest_sent, mut oldest_waiting, mut stored_to) = (state.oldest, state.oldest, state.stored_to);
    let mut complete = true;
    if let Some(outbox) = state.outbox.as_ref().filter(|_| parked) {
        let waiting = outbox.waiting_from(stored_to, MESSAGES_AT_ONCE, BYTES_AT_ONCE, now);
        oldest_waiting = waiting.oldest;
        (stored_to, complete) = (waiting.to, waiting.complete);
        messages.extend(waiting.messages);
    }
    let session = header_changed.then(|| stored(&record.key, &state.header, now));
    drop(state);
    if !complete {
        record.note();
    }
    SessionChange {
        tenant: record.key.0,
        client_id: record.key.1.to_string(),
        session,
        oldest_sent,
        oldest_waiting,
        sent_is_new: header_changed && parked,
        messages,
        stored_to,
        record,
    }
}

fn stored(key: &ClientKey, header: &Header, now: Instant) -> StoredSession {
    StoredSession {
        tenant: key.0,
        client_id: key.1.to_string(),
        owner: header.owner.clone(),
        keep: header.keep,
        expires_in: header.ends.map(|ends| ends.saturating_duration_since(now)),
        // It is made of texts and numbers.
        subscriptions: serde_json::to_value(&header.subscriptions).unwrap_or_default(),
        received: header.received.clone(),
        last_packet_id: header.last_packet_id,
        will: header.will.as_ref().map(|will| will.stored(now)),
    }
}

/// The owner of a session as a text.
pub(super) fn owner(principal: &Principal) -> String {
    match principal {
        Principal::Anonymous => "anonymous".into(),
        Principal::User(name) => format!("user:{name}"),
        Principal::Key(id) => format!("key:{id}"),
    }
}

fn principal(owner: &str) -> Option<Principal> {
    match owner.split_once(':') {
        Some(("user", name)) => Some(Principal::User(name.into())),
        Some(("key", id)) => id.parse().ok().map(Principal::Key),
        None if owner == "anonymous" => Some(Principal::Anonymous),
        _ => None,
    }
}

/// Gives a broker without clients its sessions back.
#[derive(Clone)]
pub struct SessionRestore(Arc<Hub>);

impl SessionRestore {
    pub(super) fn new(hub: &Arc<Hub>) -> Self {
        Self(hub.clone())
    }

    /// Takes a stored session over, with its messages in order. False when there is no room for it, or it cannot be read.
    pub fn restore(&self, stored: StoredSession, messages: Vec<StoredMessage>) -> bool {
        let subscriptions = serde_json::from_value::<Vec<StoredSubscription>>(stored.subscriptions.clone());
        let (Some(owner), Ok(subscriptions)) = (principal(&stored.owner), subscriptions) else {
            self.0.journal.leaves_unread();
            return false;
        };
        let ends = Instant::now() + stored.expires_in.unwrap_or(stored.keep);
        let key = (stored.tenant, stored.client_id.as_str().into());
        let will = stored.will.clone().and_then(|will| will.into_will(&key));
        let session = Session::restored(&self.0, &key, owner, &subscriptions, (stored, ends), messages);
        let taken = session.is_some_and(|session| self.0.registry.park(key, session, ends, will));
        if !taken {
            self.0.journal.leaves_unread();
        }
        taken
    }
}
