//! MQTT 5.

use bytes::Bytes;
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::v5::{
    ConnectProperties, ConnectReturnCode, Filter, Packet, Publish, RetainForwardRule, SubscribeReasonCode,
};
use rumqttc::v5::mqttbytes::{Error as CodecError, QoS};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, StateError};
use std::time::Duration;

use super::{ConnectOptions, MAX_REQUESTS, PendingAck, Requests, SourceEvent, Wire, WireError, words};

/// rumqttc keeps a place for each message that could be published, and here none is.
const OUTGOING: u16 = 16;
/// PINGREQ so often for a broker that wants no keep alive: rumqttc cannot do without.
const OWN_KEEP_ALIVE: Duration = Duration::from_secs(60);

pub(super) fn new(connect: &ConnectOptions<'_>) -> (Wire, Requests) {
    let options = connect.options;
    let mut mqtt = MqttOptions::new(&options.client_id, options.address.broker(), options.address.port);
    mqtt.set_transport(connect.route());
    mqtt.set_clean_start(false);
    mqtt.set_manual_acks(true);
    mqtt.set_keep_alive(options.keep_alive);
    mqtt.set_connection_timeout(options.connect_timeout.as_secs());
    mqtt.set_outgoing_inflight_upper_limit(OUTGOING);
    let mut properties = ConnectProperties::new();
    properties.session_expiry_interval = Some(options.session_expiry_seconds);
    properties.receive_maximum = Some(options.in_flight);
    // The broker drops what is larger without a word (MQTT 5, 3.1.2.11.4). Without this property rumqttc's own limit of
    // 10 KiB would end the connection. No topic aliases: rumqttc shows such messages without their topic.
    properties.max_packet_size = Some(options.max_packet_bytes);
    mqtt.set_connect_properties(properties);
    if let Some((username, password)) = &options.login {
        mqtt.set_credentials(username, password);
    }
    let mut network = mqtt.network_options();
    network.set_tcp_nodelay(true);
    mqtt.set_network_options(network);
    let (client, events) = AsyncClient::new(mqtt, MAX_REQUESTS);
    (Wire::V5(Box::new(events)), Requests::V5(client))
}

pub(super) async fn poll(events: &mut EventLoop) -> Result<SourceEvent, WireError> {
    Ok(match events.poll().await.map_err(error)? {
        Event::Incoming(Packet::ConnAck(ack)) => {
            if events.options.keep_alive().is_zero() {
                events.options.set_keep_alive(OWN_KEEP_ALIVE);
            }
            SourceEvent::Connected { session_present: ack.session_present }
        }
        Event::Incoming(Packet::SubAck(ack)) => {
            SourceEvent::Subscribed(ack.return_codes.iter().map(granted).collect())
        }
        Event::Incoming(Packet::Publish(publish)) => SourceEvent::Message {
            topic: String::from_utf8_lossy(&publish.topic).into_owned(),
            // The codec's slice keeps the whole read buffer alive.
            payload: Bytes::copy_from_slice(&publish.payload),
            answer: (publish.qos != QoS::AtMostOnce)
                .then_some(PendingAck { pkid: publish.pkid, exactly_once: publish.qos == QoS::ExactlyOnce }),
        },
        Event::Outgoing(Outgoing::Disconnect) => SourceEvent::Disconnected,
        _ => SourceEvent::Other,
    })
}

fn granted(code: &SubscribeReasonCode) -> Result<(), String> {
    match code {
        SubscribeReasonCode::Success(QoS::AtMostOnce) => Err("QoS 0".into()),
        SubscribeReasonCode::Success(_) => Ok(()),
        code => Err(format!("{code:?}")),
    }
}

pub(super) fn answer(client: &AsyncClient, answer: PendingAck) -> bool {
    let qos = if answer.exactly_once { QoS::ExactlyOnce } else { QoS::AtLeastOnce };
    let mut publish = Publish::new("", qos, Bytes::new(), None);
    publish.pkid = answer.pkid;
    client.try_ack(&publish).is_ok()
}

pub(super) fn subscribe(client: &AsyncClient, filters: &[String]) {
    let filters = filters.iter().map(|filter| Filter {
        // Retained usage once, and not again with every connection.
        retain_forward_rule: RetainForwardRule::OnNewSubscribe,
        ..Filter::new(filter.clone(), QoS::AtLeastOnce)
    });
    client.try_subscribe_many(filters).ok();
}

fn error(error: ConnectionError) -> WireError {
    match error {
        ConnectionError::ConnectionRefused(code) => WireError::Refused(match code {
            ConnectReturnCode::BadUserNamePassword => "bad user name or password".into(),
            ConnectReturnCode::NotAuthorized => "not authorized".into(),
            code => format!("{code:?}"),
        }),
        ConnectionError::Timeout(_) => WireError::Timeout,
        ConnectionError::MqttState(state) => match state {
            StateError::AwaitPingResp => WireError::Silent,
            StateError::ConnectionAborted => WireError::Closed,
            StateError::ServerDisconnect { reason_code, .. } => WireError::Ended(format!("{reason_code:?}")),
            StateError::Deserialization(CodecError::PayloadSizeLimitExceeded { .. }) => WireError::TooLarge,
            StateError::Io(cause) => WireError::Other(words(cause)),
            other => WireError::Other(words(other)),
        },
        ConnectionError::Io(cause) => WireError::Other(words(cause)),
        // Its text would show the packet.
        ConnectionError::NotConnAck(_) => WireError::NotConnAck,
        other => WireError::Other(words(other)),
    }
}
