//! The same with an ordinary client library.

use rumqttc::v5::mqttbytes::QoS as QoS5;
use rumqttc::v5::mqttbytes::v5::Packet as Packet5;
use rumqttc::{Event, Packet, QoS};

use super::harness::{TestBroker, USAGE, within};

#[tokio::test]
async fn rumqttc_publishes_with_every_qos_and_hears_itself() {
    let broker = TestBroker::start().await;
    let options = rumqttc::MqttOptions::new("d", "127.0.0.1", broker.address.port());
    broker.writer.commit_everything();
    let (client, mut events) = rumqttc::AsyncClient::new(options, 10);
    client.subscribe("simportal/#", QoS::ExactlyOnce).await.unwrap();
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        client.publish(USAGE, qos, false, "x").await.unwrap();
    }
    let (mut heard, mut acknowledged) = (Vec::new(), 0);
    while heard.len() < 3 || acknowledged < 2 {
        match Box::pin(within(events.poll())).await.unwrap() {
            Event::Incoming(Packet::Publish(publish)) => heard.push(publish.qos as u8),
            Event::Incoming(Packet::PubAck(_) | Packet::PubComp(_)) => acknowledged += 1,
            _ => {}
        }
    }
    assert_eq!(heard, [0, 1, 2]);
}

#[tokio::test]
async fn rumqttc_of_mqtt_5_publishes_with_every_qos_and_hears_itself() {
    let broker = TestBroker::start().await;
    let options = rumqttc::v5::MqttOptions::new("d", "127.0.0.1", broker.address.port());
    broker.writer.commit_everything();
    let (client, mut events) = rumqttc::v5::AsyncClient::new(options, 10);
    client.subscribe("simportal/#", QoS5::ExactlyOnce).await.unwrap();
    for qos in [QoS5::AtMostOnce, QoS5::AtLeastOnce, QoS5::ExactlyOnce] {
        client.publish(USAGE, qos, false, "x").await.unwrap();
    }
    let (mut heard, mut acknowledged) = (Vec::new(), 0);
    while heard.len() < 3 || acknowledged < 2 {
        match Box::pin(within(events.poll())).await.unwrap() {
            rumqttc::v5::Event::Incoming(Packet5::Publish(publish)) => heard.push(publish.qos as u8),
            rumqttc::v5::Event::Incoming(Packet5::PubAck(_) | Packet5::PubComp(_)) => acknowledged += 1,
            _ => {}
        }
    }
    assert_eq!(heard, [0, 1, 2]);
}
