//! A broker that does what a test wants, packet by packet, where real ones cannot be made to.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::bridge::BridgeProcess;
use crate::harness::database::{TestDatabase, sim};
use crate::harness::mosquitto::subscribed_to;
use crate::harness::pipeline::{TestPipeline, record};
use crate::harness::server::connect;
use crate::harness::{PATIENCE, eventually};

const ICCID: &str = "8941000000000000001";
const OTHER: &str = "8941000000000000002";

const CONNECT: u8 = 0x10;
const PUBACK: u8 = 0x40;
const SUBSCRIBE: u8 = 0x82;
const PINGREQ: u8 = 0xc0;

/// The broker's side of one connection of MQTT 3.1.1.
struct Peer(TcpStream);

impl Peer {
    async fn accept(listener: &TcpListener) -> Self {
        let accepted = tokio::time::timeout(PATIENCE, listener.accept()).await.expect("in time");
        Self(accepted.expect("a connection").0)
    }

    /// First byte and rest of the next packet; PINGREQs are answered.
    async fn packet(&mut self) -> (u8, Vec<u8>) {
        tokio::time::timeout(PATIENCE, self.next()).await.expect("a packet in time")
    }

    async fn next(&mut self) -> (u8, Vec<u8>) {
        loop {
            let kind = self.0.read_u8().await.expect("a packet");
            let (mut length, mut shift) = (0_usize, 0);
            loop {
                let byte = self.0.read_u8().await.expect("a length");
                length |= usize::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            let mut rest = vec![0; length];
            self.0.read_exact(&mut rest).await.expect("a whole packet");
            if kind != PINGREQ {
                return (kind, rest);
            }
            self.send(&[0xd0, 0]).await;
        }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.expect("it reads");
    }

    /// CONNECT is answered; `present` is what the session is said to be.
    async fn connected(listener: &TcpListener, present: bool) -> Self {
        let mut peer = Self::accept(listener).await;
        assert_eq!(peer.packet().await.0, CONNECT);
        peer.send(&[0x20, 2, u8::from(present), 0]).await;
        peer
    }

    /// The same, and SUBSCRIBE is answered with `code` for each of its three filters.
    async fn subscribed(listener: &TcpListener, present: bool, code: u8) -> Self {
        let mut peer = Self::connected(listener, present).await;
        let (kind, rest) = peer.packet().await;
        assert_eq!(kind, SUBSCRIBE);
        peer.send(&[0x90, 5, rest[0], rest[1], code, code, code]).await;
        peer
    }
}

/// At QoS 1, or QoS 0 when there is no packet id.
fn publish(iccid: &str, pkid: Option<u16>, payload: &str) -> Vec<u8> {
    let topic = format!("simportal/sims/{iccid}/usage");
    let mut rest = vec![0, topic.len() as u8];
    rest.extend_from_slice(topic.as_bytes());
    rest.extend(pkid.into_iter().flat_map(u16::to_be_bytes));
    rest.extend_from_slice(payload.as_bytes());
    let first = if pkid.is_some() { 0x32 } else { 0x30 };
    let mut packet = vec![first, (rest.len() % 128) as u8 | 0x80, (rest.len() / 128) as u8];
    packet.extend_from_slice(&rest);
    packet
}

async fn start(database: &TestDatabase, listener: &TcpListener) -> BridgeProcess {
    let address = listener.local_addr().expect("an address");
    let options = subscribed_to(&database.url(), &format!("mqtt://{address}"), "version = 3");
    BridgeProcess::start(&options).await
}

/// Catches acknowledgements of an earlier connection on a later one, whose session gave the packet id to another message:
/// that would be acknowledged before its COMMIT.
#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_never_reaches_a_later_connection() {
    let database = TestDatabase::new().await;
    database.import(&[sim(ICCID), sim(OTHER)]).await;
    let pipeline = TestPipeline::start(&database.store);
    for iccid in [ICCID, OTHER] {
        pipeline.one(iccid, record("makes the cycle", 0, 1, 1)).await;
    }
    pipeline.finish().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let bridge = start(&database, &listener).await;
    let reaches = async |name: &str, value: f64| {
        eventually(name, async || (bridge.metric(name).await == value).then_some(())).await;
    };
    let received = "simbridge_source_messages_received_total";
    let acknowledged = "simbridge_source_messages_acknowledged_total";

    // The first message waits for one lock, the second one, under the same packet id, for another.
    let other = connect(&database.another_config()).await;
    // A transaction sees the activity as it was when it looked first.
    let watch = connect(&database.another_config()).await;
    let hold = format!("BEGIN; SELECT 1 FROM usage_cycles WHERE iccid = '{OTHER}' FOR UPDATE");
    other.batch_execute(&hold).await.expect("the cycle is there");
    database.run("BEGIN; LOCK TABLE usage_records IN EXCLUSIVE MODE").await;
    let mut first = Peer::subscribed(&listener, false, 1).await;
    first.send(&publish(ICCID, Some(1), &record("a", 0, 1, 1))).await;
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                   AND wait_event_type = 'Lock' AND query LIKE '%INTO usage_records%'";
    eventually("it is being written", async || (number(&watch, waiting).await == 1).then_some(())).await;
    drop(first);
    let mut second = Peer::subscribed(&listener, false, 1).await;
    second.send(&publish(OTHER, Some(1), &record("b", 0, 1, 1))).await;
    reaches(received, 2.0).await;
    eventually("both are being written", async || (number(&watch, waiting).await == 2).then_some(())).await;
    database.run("ROLLBACK").await;
    reaches("simbridge_records_stored_total", 1.0).await;
    // Each of these takes the connection's task through its loop once more.
    for n in 3..=6 {
        second.send(&publish(ICCID, None, &record(&format!("c-{n}"), 0, 1, 1))).await;
        reaches(received, f64::from(n)).await;
    }
    assert_eq!(bridge.metric(acknowledged).await, 0.0, "acknowledged before COMMIT");
    other.batch_execute("ROLLBACK").await.expect("it was held");
    let (kind, rest) = second.packet().await;
    assert_eq!((kind, rest), (PUBACK, vec![0, 1]));
    assert_eq!(database.number("SELECT count(*) FROM usage_records WHERE record_id = 'b'").await, 1);
    assert_eq!(bridge.metric("simbridge_source_sessions_lost_total").await, 1.0);
    bridge.kill().await;
}

async fn number(client: &tokio_postgres::Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.expect("the query is valid").get(0)
}

/// Catches what was read together with an error and is shown after the next CONNACK: its packet id is no longer its own.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_with_an_error_is_not_answered_on_the_next_connection() {
    let database = TestDatabase::new().await;
    database.import(&[sim(ICCID)]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let bridge = start(&database, &listener).await;
    let mut first = Peer::subscribed(&listener, false, 1).await;
    // In one segment: two messages and what no broker sends.
    let of = |pkid: u16, id: &str| publish(ICCID, Some(pkid), &record(id, 0, 1, 1));
    first.send(&[of(7, "a"), of(8, "b"), vec![0xf0, 0]].concat()).await;
    let mut second = Peer::subscribed(&listener, true, 1).await;
    second.send(&of(9, "c")).await;
    assert_eq!(second.packet().await, (PUBACK, vec![0, 9]));
    second.send(&of(7, "a")).await;
    assert_eq!(second.packet().await, (PUBACK, vec![0, 7]));
    bridge.kill().await;
}

/// Catches a subscription that is believed without SUBACK: QoS 0 has no acknowledgement, and a refusal no messages.
#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_is_not_granted_with_acknowledgements_is_an_error_and_tried_again() {
    let database = TestDatabase::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let bridge = start(&database, &listener).await;
    for (code, said) in [(0x80, "refused"), (0, "QoS 0")] {
        let peer = Peer::subscribed(&listener, true, code).await;
        eventually("it is said", async || {
            let (_, body) = bridge.get("/statusz").await;
            (body.contains(said) && body.contains("$share/simbridge/simportal/sims/+/usage")).then_some(())
        })
        .await;
        assert_eq!(bridge.metric("simbridge_source_connected").await, 0.0);
        drop(peer);
    }
    let peer = Peer::subscribed(&listener, true, 1).await;
    eventually("it is subscribed", async || {
        (bridge.metric("simbridge_source_connected").await == 1.0).then_some(())
    })
    .await;
    drop(peer);
    bridge.kill().await;
}

/// Catches PUBACKs in the order of commits: a later message that is committed first has to wait (MQTT 3.1.1, 4.6).
#[tokio::test(flavor = "multi_thread")]
async fn acknowledgements_leave_in_the_order_of_the_messages() {
    let database = TestDatabase::new().await;
    database.import(&[sim(ICCID)]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let bridge = start(&database, &listener).await;
    let mut peer = Peer::subscribed(&listener, false, 1).await;
    let messages: Vec<u8> = (1..=500_u16)
        .flat_map(|pkid| publish(ICCID, Some(pkid), &record(&format!("r-{pkid}"), 0, 1, 1)))
        .collect();
    peer.send(&messages).await;
    for pkid in 1..=500_u16 {
        let (kind, rest) = peer.packet().await;
        assert_eq!((kind, rest), (PUBACK, pkid.to_be_bytes().to_vec()));
    }
    assert_eq!(database.number("SELECT count(*) FROM usage_records").await, 500);
    bridge.kill().await;
}

/// Catches a source that stops for good when as many messages wait for their acknowledgement as there are packet ids, because it
/// stops reading and with it writing. mosquitto 2.0.11 with `max_inflight_messages 0` sends like this broker: without waiting, and with
/// packet ids that are given out again. What no topic of the source names needs no COMMIT.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_waits_for_no_acknowledgement_gets_them_all() {
    const MESSAGES: usize = 250_000;
    let database = TestDatabase::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let bridge = start(&database, &listener).await;
    let (mut read, mut write) = Peer::subscribed(&listener, false, 1).await.0.into_split();
    let id = |n: usize| ((n % 65_535) as u16 + 1).to_be_bytes();
    let all: Vec<u8> = (0..MESSAGES).flat_map(|n| [0x32, 6, 0, 1, b'x', id(n)[0], id(n)[1], b'!']).collect();
    let sending = tokio::spawn(async move {
        write.write_all(&all).await.expect("it reads");
        write
    });
    let mut packet = [0; 4];
    for n in 0..MESSAGES {
        let answer = tokio::time::timeout(PATIENCE, read.read_exact(&mut packet)).await;
        answer.unwrap_or_else(|_| panic!("{n} acknowledgements")).expect("a packet");
        assert_eq!(packet, [PUBACK, 2, id(n)[0], id(n)[1]]);
    }
    sending.await.expect("all are sent");
    bridge.kill().await;
}
