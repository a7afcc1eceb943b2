//! What happens while the database is slow.

use super::client::{Client, Connect};
use super::harness::{Setup, TestBroker, USAGE, until, within};
use super::wire::publish;

fn small_queue() -> Setup {
    let mut setup = Setup { queue_messages: 1, ..Setup::default() };
    setup.config.max_unacked_bytes_per_connection = 10 * 1024;
    setup.config.receive_maximum = 65_535;
    setup
}

/// So many PUBACKs and a PINGRESP, which has no place among them.
async fn pubacks_and_ping(client: &mut Client, pubacks: usize) {
    let mut kinds = Vec::new();
    for _ in 0..=pubacks {
        kinds.push(client.packet().await.expect("the connection was closed").0 >> 4);
    }
    kinds.sort_unstable();
    assert_eq!(kinds.pop(), Some(super::wire::PINGRESP));
    assert!(kinds.iter().all(|kind| *kind == super::wire::PUBACK));
}

#[tokio::test]
async fn a_full_queue_leaves_pings_answered_until_too_much_is_open() {
    let mut broker = TestBroker::with(small_queue()).await;
    let mut client = Client::connect(&broker, &Connect::v311("d")).await;
    for pkid in 1..=10 {
        client.publish(&publish(USAGE, pkid.to_string()).qos1(pkid)).await;
    }
    // Nine of them are not in the queue.
    client.ping().await;
    assert_eq!(broker.metrics.paused_readers.get(), 0);
    for pkid in 11..=40 {
        client.publish(&publish(USAGE, pkid.to_string()).qos1(pkid)).await;
    }
    until("reading stops", || broker.metrics.paused_readers.get() == 1).await;
    client.send(&[0xc0, 0]).await;
    // Others are not concerned.
    Client::connect(&broker, &Connect::v311("other")).await.ping().await;
    for pkid in 1..=40u16 {
        let taken = broker.writer.take().await;
        assert_eq!(taken.payload(), pkid.to_string().as_bytes());
        taken.commit();
    }
    pubacks_and_ping(&mut client, 40).await;
    until("reading goes on", || broker.metrics.paused_readers.get() == 0).await;
}

#[tokio::test]
async fn a_paused_client_that_leaves_is_not_counted_any_more() {
    let broker = TestBroker::with(small_queue()).await;
    let mut client = Client::connect(&broker, &Connect::v311("d")).await;
    for pkid in 1..=40 {
        client.publish(&publish(USAGE, "x").qos1(pkid)).await;
    }
    until("reading stops", || broker.metrics.paused_readers.get() == 1).await;
    // The broker does not read, so only a take-over tells it.
    let mut second = Client::connect(&broker, &Connect::v311("d")).await;
    assert_eq!(broker.metrics.paused_readers.get(), 0);
    second.ping().await;
    drop(client);
}

#[tokio::test]
async fn a_burst_of_small_messages_in_one_read_is_handled_to_its_end() {
    for qos in [0, 1] {
        let broker = TestBroker::with(Setup { queue_messages: 10_000, ..small_queue() }).await;
        let mut client = Client::connect(&broker, &Connect::v311("d")).await;
        broker.writer.commit_everything();
        let mut burst = Vec::new();
        for pkid in 1..=400 {
            let mut message = publish(if qos == 0 { USAGE } else { "other" }, "");
            (message.qos, message.pkid) = (qos, pkid);
            burst.extend(message.encoded(false));
        }
        burst.extend([0xc0, 0]);
        client.send(&burst).await;
        pubacks_and_ping(&mut client, 400 * usize::from(qos)).await;
    }
}

#[tokio::test]
async fn the_backlog_of_all_clients_together_is_bounded() {
    let mut setup = small_queue();
    setup.config.max_unacked_bytes_per_connection = 1 << 20;
    setup.config.max_backlog_bytes = 20 * 1024;
    let mut broker = TestBroker::with(setup).await;
    let mut clients = Vec::new();
    for n in 0..4 {
        let mut client = Client::connect(&broker, &Connect::v311(&format!("d{n}"))).await;
        for pkid in 1..=100 {
            client.publish(&publish(USAGE, "x").qos1(pkid)).await;
        }
        clients.push(client);
    }
    until("everybody is paused", || broker.metrics.paused_readers.get() == 4).await;
    for taken in broker.writer.take_many(400).await {
        taken.commit();
    }
    for client in &mut clients {
        for pkid in 1..=100 {
            assert_eq!(client.puback().await, pkid);
        }
    }
    until("everybody goes on", || broker.metrics.paused_readers.get() == 0).await;
}

#[tokio::test]
async fn time_in_which_the_broker_does_not_read_is_no_silence_of_the_client() {
    let mut broker = TestBroker::with(small_queue()).await;
    let mut client = Client::connect(&broker, &Connect::v311("d").keep_alive(1)).await;
    for pkid in 1..=40 {
        client.publish(&publish(USAGE, "x").qos1(pkid)).await;
    }
    until("reading stops", || broker.metrics.paused_readers.get() == 1).await;
    // Longer than one and a half times the smallest keep alive.
    tokio::time::sleep(std::time::Duration::from_millis(2000)).await;
    client.send(&[0xc0, 0]).await;
    for _ in 0..40 {
        broker.writer.take().await.commit();
    }
    pubacks_and_ping(&mut client, 40).await;
}

#[tokio::test]
async fn a_stopped_pipeline_ends_the_connections_that_need_it() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker, &Connect::v5("d")).await;
    drop(broker.writer);
    client.publish(&publish(USAGE, "x").qos1(1)).await;
    assert_eq!(within(client.ended()).await, Some(0x8b));
}
