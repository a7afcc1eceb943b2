//! From a fresh socket to a client: CONNECT, login, CONNACK.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rumqttd::protocol::{ConnAck, ConnAckProperties, ConnectProperties, ConnectReturnCode, LastWill, Packet};
use thiserror::Error;
use tokio::net::TcpStream;

use crate::domain::TenantId;
use crate::ingest::queue::{Sender, Via};

use super::Hub;
use super::acl::Rights;
use super::admission::{Held, Place};
use super::auth::LoginError;
use super::certificate::{self, CertifiedName};
use super::codec::{self, Connecting, Version};
use super::credential::Identity;
use super::ending::{Ending, Violation};
use super::registry::ClientKey;
use super::take_over::TooMany;
use super::transport::{self, FAREWELL, ListenerProtocol, OpenError, Transport};
use super::will::Will;

const BAD_LOGIN: &str = "bad_login";

/// A client that proved who it is.
pub(super) struct Client {
    pub(super) version: Version,
    pub(super) client_id: Arc<str>,
    /// Made up by the broker, and told.
    pub(super) assigned: bool,
    pub(super) clean_start: bool,
    pub(super) keep_alive_seconds: u16,
    /// The keep alive that the client asked for.
    pub(super) asked_keep_alive_seconds: u16,
    pub(super) session_expiry: Duration,
    pub(super) receive_maximum: usize,
    pub(super) max_packet: usize,
    pub(super) topic_alias_maximum: u16,
    pub(super) wants_reasons: bool,
    pub(super) identity: Identity,
    pub(super) rights: Rights,
    /// Checks of all logins before this one was read.
    pub(super) checks: u64,
    pub(super) sender: Arc<Sender>,
    pub(super) will: Option<Will>,
}

/// Why there is no client.
#[derive(Debug, Error)]
pub(super) enum Refused {
    #[error("no CONNECT in time")]
    Timeout,
    #[error("closed before CONNECT")]
    Closed,
    #[error("{0}")]
    Open(#[from] OpenError),
    #[error("{0}")]
    Network(Ending),
    /// What carries the packets was used wrongly.
    #[error("{0}")]
    Transport(Violation),
    /// Answered with CONNACK; codes of MQTT 3.1.1 and 5.
    #[error("{what}")]
    Answered { what: &'static str, version: Version, v311: u8, v5: u8 },
    /// Not MQTT, or not answerable.
    #[error("{0}")]
    Silent(&'static str),
}

impl Refused {
    /// Whether it counts against the address: nobody does it by accident often.
    fn is_offence(&self) -> bool {
        match self {
            Self::Timeout | Self::Open(_) | Self::Transport(_) | Self::Silent(_) => true,
            Self::Closed | Self::Network(_) => false,
            Self::Answered { what, .. } => *what == BAD_LOGIN,
        }
    }

    /// Value of the metric label `result`.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::Open(error) => error.label(),
            Self::Network(_) => "network",
            Self::Transport(_) => "websocket",
            Self::Answered { what, .. } | Self::Silent(what) => what,
        }
    }
}

fn answered(version: Version, what: &'static str, v311: u8, v5: u8) -> Refused {
    Refused::Answered { what, version, v311, v5 }
}

impl From<Ending> for Refused {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Violation(violation) => Self::Transport(violation),
            ending => Self::Network(ending),
        }
    }
}

/// Does the handshakes of `protocol`, reads CONNECT and checks who it is. A refusal has been answered when this returns.
pub(super) async fn connect(
    hub: &Hub,
    stream: TcpStream,
    protocol: ListenerProtocol,
    place: Place,
    buffer: &mut BytesMut,
) -> Result<(Transport, Client, Held), Refused> {
    let shaken = handshake(hub, stream, protocol, &place, buffer).await;
    if let Err(refused) | Ok((_, Err(refused))) = &shaken
        && refused.is_offence()
    {
        hub.metrics.offence(refused.label());
        place.held.offend(Instant::now());
    }
    // Whoever waits for something else from here on keeps nobody from logging in.
    let held = place.leave();
    let (transport, result) = shaken?;
    let result = match result {
        Ok(client) => wait_for_take_over(hub, client).await,
        Err(refused) => Err(refused),
    };
    match result {
        Ok(client) => Ok((transport, client, held)),
        Err(refused) => {
            if matches!(refused, Refused::Answered { what: BAD_LOGIN, .. }) {
                let delay = Duration::from_millis(hub.config.login_failure_delay_milliseconds);
                tokio::time::sleep(delay).await;
            }
            answer(&refused, transport).await;
            Err(refused)
        }
    }
}

/// A refusal inside is one that can be answered.
async fn handshake(
    hub: &Hub,
    stream: TcpStream,
    protocol: ListenerProtocol,
    place: &Place,
    buffer: &mut BytesMut,
) -> Result<(Transport, Result<Client, Refused>), Refused> {
    // One limit for all of it, so that dripping bytes gain nothing in one step that they had to spare in another.
    let mut overdue = pin!(place.overdue());
    let (mut transport, certified) = tokio::select! {
        opened = transport::open(stream, &protocol, &hub.config) => opened?,
        () = &mut overdue => return Err(Refused::Timeout),
    };
    let connecting = tokio::select! {
        connecting = read_connect(hub, &mut transport, buffer) => connecting,
        () = &mut overdue => Err(Refused::Timeout),
    };
    let result = match connecting {
        Ok(connecting) => log_in(hub, connecting, certified.as_ref(), place).await,
        Err(refused) => Err(refused),
    };
    Ok((transport, result))
}

/// Clients that end each other's connections do so more and more slowly.
async fn wait_for_take_over(hub: &Hub, client: Client) -> Result<Client, Refused> {
    let key = client.key();
    if hub.registry.is_connected(&key) {
        match hub.take_overs.reserve(&key, Instant::now()) {
            Ok(wait) if wait.is_zero() => {}
            Ok(wait) => {
                hub.metrics.delayed_take_overs.inc();
                tokio::time::sleep(wait).await;
            }
            // Connection rate exceeded; MQTT 3.1.1 knows "unavailable" only.
            Err(TooMany) => return Err(answered(client.version, "take_over_rate", 3, 0x9f)),
        }
    }
    Ok(client)
}

/// Tells a client that it is refused, where there is a way to.
async fn answer(refused: &Refused, mut transport: Transport) {
    let mut out = BytesMut::new();
    let violation = match refused {
        Refused::Answered { version: Version::V311, v311, .. } => {
            out.extend_from_slice(&[0x20, 2, 0, *v311]);
            None
        }
        Refused::Answered { version: Version::V5, v5, .. } => {
            out.extend_from_slice(&[0x20, 3, 0, *v5, 0]);
            None
        }
        Refused::Transport(violation) => Some(violation),
        _ => return,
    };
    // A client that does not take the answer does not get one.
    tokio::time::timeout(FAREWELL, transport.farewell(&mut out, violation, false)).await.ok();
}

async fn read_connect(
    hub: &Hub,
    transport: &mut Transport,
    buffer: &mut BytesMut,
) -> Result<Connecting, Refused> {
    loop {
        if !buffer.is_empty() {
            if !codec::is_connect(buffer) {
                return Err(Refused::Silent("not_connect"));
            }
            let complete = codec::frame_length(buffer, hub.config.max_packet_bytes);
            if complete.map_err(|_| Refused::Silent("malformed"))?.is_some() {
                return codec::decode_connect(buffer, hub.config.max_packet_bytes)
                    .map_err(|(version, what, v311, v5)| answered(version, what, v311, v5));
            }
        }
        transport.readable().await?;
        if transport.try_read(buffer)? == Some(0) {
            return Err(Refused::Closed);
        }
    }
}

/// Who the client is and what it may do.
async fn log_in(
    hub: &Hub,
    connecting: Connecting,
    certified: Option<&CertifiedName>,
    place: &Place,
) -> Result<Client, Refused> {
    let Connecting { version, connect, properties, will, will_properties, login } = connecting;
    let asked = |of: fn(&ConnectProperties) -> Option<u32>| properties.as_ref().and_then(of);
    if properties.as_ref().is_some_and(|properties| properties.authentication_method.is_some()) {
        return Err(answered(version, "authentication_method", 5, 0x8c));
    }
    let assigned = connect.client_id.is_empty();
    if assigned && version == Version::V311 && !connect.clean_session {
        return Err(answered(version, "client_id", 2, 0x85));
    }
    if connect.client_id.len() > hub.config.max_client_id_bytes {
        return Err(answered(version, "client_id", 2, 0x85));
    }
    let client_id: Arc<str> = if assigned {
        format!("simbridge-{:016x}", rand::random::<u64>()).into()
    } else {
        connect.client_id.into()
    };
    let login = login.map(|login| (login.username, login.password));
    let checks = hub.registry.checks();
    let identity = identify(hub, version, login, certified, place).await?;
    if hub.registry.is_anothers(&(identity.tenant, client_id.clone()), &identity.login.principal) {
        return Err(answered(version, "client_id", 2, 0x85));
    }
    let rights = Rights::new(&identity.grant, &identity.tenant_name, &client_id, &hub.rules);
    if will.as_ref().is_some_and(|will| !may_leave(hub, &rights, will)) {
        hub.metrics.refused("will");
        return Err(answered(version, "will_topic", 5, 0x87));
    }
    let sender = Arc::new(Sender {
        tenant: identity.tenant,
        may_correct: identity.may_correct,
        iccid: rights.iccid.clone(),
        via: Via::Mqtt,
        name: client_id.to_string(),
    });
    let will = will
        .map(|will| {
            Will::new(will, will_properties, sender.clone(), client_id.clone(), hub.config.max_topic_levels)
        })
        .transpose()
        .map_err(|_| answered(version, "will_topic", 5, 0x90))?;
    let asked_expiry = asked(|p| p.session_expiry_interval).unwrap_or(0);
    let session_expiry = session_expiry(hub, version, connect.clean_session, asked_expiry);
    let server_maximum = hub.config.server_keep_alive_max_seconds;
    let too_long = connect.keep_alive == 0 || connect.keep_alive > server_maximum;
    let limited = version == Version::V5 && server_maximum > 0 && too_long;
    Ok(Client {
        keep_alive_seconds: if limited { server_maximum } else { connect.keep_alive },
        asked_keep_alive_seconds: connect.keep_alive,
        version,
        client_id,
        assigned,
        clean_start: connect.clean_session,
        session_expiry,
        receive_maximum: asked(|p| p.receive_maximum.map(u32::from)).unwrap_or(65_535) as usize,
        max_packet: asked(|p| p.max_packet_size).map_or(usize::MAX, |size| size as usize),
        topic_alias_maximum: properties
            .as_ref()
            .and_then(|p| p.topic_alias_max)
            .unwrap_or(0)
            .min(hub.config.topic_alias_maximum),
        wants_reasons: asked(|p| p.request_problem_info.map(u32::from)) != Some(0),
        identity,
        rights,
        checks,
        sender,
        will,
    })
}

/// A will is published in the client's name, so it may go only where the client may publish. What is no text is refused as
/// such.
fn may_leave(hub: &Hub, rights: &Rights, will: &LastWill) -> bool {
    std::str::from_utf8(&will.topic)
        .map_or(true, |topic| rights.may_publish(topic, hub.topics.classify(topic)))
}

/// For how long the session outlives its connection. MQTT 3.1.1 knows for ever or not at all.
fn session_expiry(hub: &Hub, version: Version, clean: bool, asked_seconds: u32) -> Duration {
    let longest = Duration::from_secs(hub.config.session_expiry_max_seconds.into());
    match version {
        Version::V311 if clean => Duration::ZERO,
        Version::V311 => longest,
        Version::V5 => Duration::from_secs(asked_seconds.into()).min(longest),
    }
}

async fn identify(
    hub: &Hub,
    version: Version,
    login: Option<(String, String)>,
    certified: Option<&CertifiedName>,
    place: &Place,
) -> Result<Identity, Refused> {
    match certificate::identify(&hub.access, login, certified, place.checks()).await {
        Ok(identity) => Ok(identity),
        Err(LoginError::BadLogin) => Err(answered(version, BAD_LOGIN, 4, 0x86)),
        Err(LoginError::NoPermission) => Err(answered(version, "no_permission", 5, 0x87)),
        Err(LoginError::Unavailable(error)) => {
            tracing::warn!(%error, "a login could not be checked");
            Err(answered(version, "login_unavailable", 3, 0x88))
        }
    }
}

/// CONNACK that accepts.
pub(super) fn put_connack(hub: &Hub, client: &Client, session_present: bool, out: &mut BytesMut) {
    if client.version == Version::V311 {
        out.extend_from_slice(&[0x20, 2, u8::from(session_present), 0]);
        return;
    }
    let config = &hub.config;
    let changed_keep_alive = client.keep_alive_seconds != client.asked_keep_alive_seconds;
    let properties = ConnAckProperties {
        session_expiry_interval: Some(client.session_expiry.as_secs() as u32),
        receive_max: Some(config.receive_maximum),
        max_packet_size: Some(u32::try_from(config.max_packet_bytes).unwrap_or(u32::MAX)),
        topic_alias_max: Some(config.topic_alias_maximum),
        assigned_client_identifier: client.assigned.then(|| client.client_id.to_string()),
        shared_subscription_available: None,
        server_keep_alive: changed_keep_alive.then_some(client.keep_alive_seconds),
        max_qos: None,
        retain_available: None,
        reason_string: None,
        user_properties: Vec::new(),
        wildcard_subscription_available: None,
        subscription_identifiers_available: None,
        response_information: None,
        server_reference: None,
        authentication_method: None,
        authentication_data: None,
    };
    let connack = ConnAck { session_present, code: ConnectReturnCode::Success };
    codec::encode(Version::V5, Packet::ConnAck(connack, Some(properties)), out);
}

impl Client {
    pub(super) fn key(&self) -> ClientKey {
        (self.identity.tenant, self.client_id.clone())
    }

    pub(super) fn tenant(&self) -> TenantId {
        self.identity.tenant
    }
}
