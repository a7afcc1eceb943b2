//! MQTT 3.1.1.

use bytes::Bytes;
use rumqttc::mqttbytes::Error as CodecError;
use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, MqttOptions, Outgoing, Packet,
    Publish, QoS, StateError, SubscribeFilter, SubscribeReasonCode,
};

use super::{ConnectOptions, MAX_REQUESTS, PendingAck, Requests, SourceEvent, Wire, WireError, words};

pub(super) fn new(connect: &ConnectOptions<'_>) -> (Wire, Requests) {
    let options = connect.options;
    let mut mqtt = MqttOptions::new(&options.client_id, options.address.broker(), options.address.port);
    mqtt.set_transport(connect.route());
    mqtt.set_clean_session(false);
    mqtt.set_manual_acks(true);
    mqtt.set_keep_alive(options.keep_alive);
    // Its own packets are an answer, a SUBSCRIBE or a PINGREQ.
    mqtt.set_max_packet_size(options.max_packet_bytes as usize, options.max_packet_bytes as usize);
    if let Some((username, password)) = &options.login {
        mqtt.set_credentials(username, password);
    }
    let (client, mut events) = AsyncClient::new(mqtt, MAX_REQUESTS);
    events.network_options.set_connection_timeout(options.connect_timeout.as_secs());
    events.network_options.set_tcp_nodelay(true);
    (Wire::V3(Box::new(events)), Requests::V3(client))
}

pub(super) async fn poll(events: &mut EventLoop) -> Result<SourceEvent, WireError> {
    Ok(match events.poll().await.map_err(error)? {
        Event::Incoming(Packet::ConnAck(ack)) => {
            SourceEvent::Connected { session_present: ack.session_present }
        }
        Event::Incoming(Packet::SubAck(ack)) => {
            SourceEvent::Subscribed(ack.return_codes.iter().map(granted).collect())
        }
        Event::Incoming(Packet::Publish(publish)) => SourceEvent::Message {
            // The codec's slice keeps the whole read buffer alive.
            payload: Bytes::copy_from_slice(&publish.payload),
            answer: (publish.qos != QoS::AtMostOnce)
                .then_some(PendingAck { pkid: publish.pkid, exactly_once: publish.qos == QoS::ExactlyOnce }),
            topic: publish.topic,
        },
        Event::Outgoing(Outgoing::Disconnect) => SourceEvent::Disconnected,
        _ => SourceEvent::Other,
    })
}

fn granted(code: &SubscribeReasonCode) -> Result<(), String> {
    match code {
        SubscribeReasonCode::Success(QoS::AtMostOnce) => Err("QoS 0".into()),
        SubscribeReasonCode::Success(_) => Ok(()),
        SubscribeReasonCode::Failure => Err("refused".into()),
    }
}

pub(super) fn answer(client: &AsyncClient, answer: PendingAck) -> bool {
    let qos = if answer.exactly_once { QoS::ExactlyOnce } else { QoS::AtLeastOnce };
    let mut publish = Publish::new("", qos, Vec::new());
    publish.pkid = answer.pkid;
    client.try_ack(&publish).is_ok()
}

pub(super) fn subscribe(client: &AsyncClient, filters: &[String]) {
    let filters = filters.iter().map(|filter| SubscribeFilter::new(filter.clone(), QoS::AtLeastOnce));
    client.try_subscribe_many(filters).ok();
}

fn error(error: ConnectionError) -> WireError {
    match error {
        ConnectionError::ConnectionRefused(code) => WireError::Refused(match code {
            ConnectReturnCode::BadUserNamePassword => "bad user name or password".into(),
            ConnectReturnCode::NotAuthorized => "not authorized".into(),
            code => format!("{code:?}"),
        }),
        ConnectionError::NetworkTimeout | ConnectionError::FlushTimeout => WireError::Timeout,
        ConnectionError::MqttState(state) => match state {
            StateError::AwaitPingResp => WireError::Silent,
            StateError::ConnectionAborted => WireError::Closed,
            StateError::Deserialization(CodecError::PayloadSizeLimitExceeded(_)) => WireError::TooLarge,
            StateError::Io(cause) => WireError::Other(words(cause)),
            other => WireError::Other(words(other)),
        },
        ConnectionError::Io(cause) => WireError::Other(words(cause)),
        // Its text would show the packet.
        ConnectionError::NotConnAck(_) => WireError::NotConnAck,
        other => WireError::Other(words(other)),
    }
}
