//! What waits in the broker is stored and taken over by the next one: without a database, from one broker to another.

use std::time::{Duration, Instant};

use crate::broker::{
    GroupLog, GroupRestore, SessionLog, SessionRestore, StoredGroup, StoredMessage, StoredSession,
};
use crate::domain::TenantId;

use super::client::{Client, Connect};
use super::harness::{TestBroker, USAGE, until};
use super::wire::property::{CONTENT_TYPE, WILL_DELAY};
use super::wire::{PUBACK, Properties, publish};

const GROUP: &str = "$share/g/t/#";

/// What a table would hold of a broker.
#[derive(Default)]
struct Table {
    sessions: Vec<StoredSession>,
    messages: Vec<(StoredGroup, StoredMessage)>,
}

impl Table {
    /// Takes what changed in, as the database does.
    fn write(&mut self, sessions: &SessionLog, groups: &GroupLog) {
        let changes = sessions.take(1000);
        self.sessions.retain(|held| !changes.gone.contains(&(held.tenant, held.client_id.clone())));
        for session in changes.changed.iter().filter_map(|change| change.session.clone()) {
            self.sessions.retain(|held| held.client_id != session.client_id);
            self.sessions.push(session);
        }
        sessions.stored(changes);
        let changes = groups.take(1000);
        self.messages.retain(|(group, _)| !changes.gone.contains(group));
        for change in &changes.changed {
            self.messages.retain(|(group, held)| *group != change.group || held.position >= change.oldest);
            for message in &change.messages {
                self.messages
                    .retain(|(group, held)| *group != change.group || held.position != message.position);
                self.messages.push((change.group.clone(), message.clone()));
            }
        }
        self.messages.sort_by_key(|(_, message)| message.position);
        groups.stored(changes);
    }

    fn payloads(&self) -> Vec<String> {
        let payload = |message: &StoredMessage| String::from_utf8_lossy(&message.payload).into_owned();
        self.messages.iter().map(|(_, message)| payload(message)).collect()
    }
}

/// A broker that is written down.
async fn stored() -> (TestBroker, SessionLog, GroupLog) {
    let broker = TestBroker::start().await;
    let (sessions, groups) = (SessionLog::new(&broker.hub), GroupLog::new(&broker.hub));
    (broker, sessions, groups)
}

/// The next broker, with what the table holds.
async fn restarted(table: &Table) -> (TestBroker, SessionLog, GroupLog) {
    let (broker, sessions, groups) = stored().await;
    for session in table.sessions.clone() {
        assert!(SessionRestore::new(&broker.hub).restore(session, Vec::new()));
    }
    for (group, message) in &table.messages {
        assert!(GroupRestore::new(&broker.hub).restore(group, message.clone()));
    }
    (broker, sessions, groups)
}

async fn send(publisher: &mut Client, numbers: std::ops::Range<u32>) {
    for number in numbers {
        publisher.publish(&publish("t/x", number.to_string()).qos1(1)).await;
        publisher.puback().await;
    }
}

async fn takes(client: &mut Client) -> String {
    let heard = client.published().await;
    client.send_ack(PUBACK, heard.pkid).await;
    String::from_utf8(heard.payload).unwrap()
}

async fn member(broker: &TestBroker, id: &str) -> Client {
    let mut client = Client::connect(broker, &Connect::v5(id).persistent()).await;
    assert_eq!(client.subscribe(GROUP, 1).await, 1);
    client
}

/// Catches messages of a group that end with the program, those that are written although somebody is there, those that stay in the
/// table when a member has taken them (`taken` without effect), and a group whose rows outlive its members.
#[tokio::test]
async fn what_waits_for_a_group_is_there_after_a_restart() {
    let (broker, sessions, groups) = stored().await;
    let mut table = Table::default();
    let (a, mut b) = (member(&broker, "a").await, member(&broker, "b").await);
    let mut publisher = Client::connect(&broker, &Connect::v5("p")).await;
    a.drop_connection(&broker).await;
    send(&mut publisher, 0..1).await;
    assert_eq!(takes(&mut b).await, "0");
    table.write(&sessions, &groups);
    assert!(table.messages.is_empty(), "b is there");
    b.drop_connection(&broker).await;
    send(&mut publisher, 1..4).await;
    table.write(&sessions, &groups);
    send(&mut publisher, 4..6).await;
    table.write(&sessions, &groups);
    assert_eq!(table.payloads(), ["1", "2", "3", "4", "5"]);

    let (broker, sessions, groups) = restarted(&table).await;
    let mut publisher = Client::connect(&broker, &Connect::v5("p")).await;
    send(&mut publisher, 6..7).await;
    table.write(&sessions, &groups);
    assert_eq!(table.payloads(), ["1", "2", "3", "4", "5", "6"]);
    let mut back = Client::connect(&broker, &Connect::v5("a").persistent()).await;
    assert!(back.connack.session_present);
    for expected in 1..=6 {
        assert_eq!(takes(&mut back).await, expected.to_string());
    }
    table.write(&sessions, &groups);
    assert!(table.messages.is_empty(), "{:?}", table.payloads());
    back.leave().await;
    send(&mut publisher, 7..8).await;
    table.write(&sessions, &groups);
    assert_eq!(table.payloads(), ["7"]);
    for id in ["a", "b"] {
        Client::connect(&broker, &Connect::v5(id)).await.leave().await;
    }
    table.write(&sessions, &groups);
    assert!(table.messages.is_empty() && table.sessions.is_empty());
}

/// Catches a message that was taken from the table and came back to the group: it has to be stored again, before the others
/// (`write_anew` left out), and must not be taken for the one whose position it has now.
#[tokio::test]
async fn what_came_back_to_a_group_is_stored_again() {
    let (broker, sessions, groups) = stored().await;
    let mut table = Table::default();
    let first = member(&broker, "first").await;
    first.drop_connection(&broker).await;
    let mut publisher = Client::connect(&broker, &Connect::v5("p")).await;
    send(&mut publisher, 0..4).await;
    table.write(&sessions, &groups);
    // Takes two and goes for good.
    let window = |properties: Properties| properties.short(super::wire::property::RECEIVE_MAXIMUM, 2);
    let mut second = Client::connect(&broker, &Connect::v5("second").with(window)).await;
    assert_eq!(second.subscribe(GROUP, 1).await, 1);
    for expected in ["0", "1"] {
        assert_eq!(second.published().await.payload, expected.as_bytes());
    }
    table.write(&sessions, &groups);
    assert_eq!(table.payloads(), ["2", "3"]);
    second.drop_connection(&broker).await;
    until("they are back", || {
        table.write(&sessions, &groups);
        table.messages.len() == 4
    })
    .await;
    let (broker, ..) = restarted(&table).await;
    let mut back = Client::connect(&broker, &Connect::v5("first").persistent()).await;
    let mut heard = Vec::new();
    for _ in 0..4 {
        heard.push(takes(&mut back).await);
    }
    assert_eq!(heard[2..], ["2", "3"], "{heard:?}");
    heard.sort();
    assert_eq!(heard, ["0", "1", "2", "3"]);
}

/// Catches messages of a group that nobody is in any more and that would wait for ever.
#[tokio::test]
async fn a_group_without_members_is_refused() {
    let (broker, ..) = stored().await;
    let group = StoredGroup { tenant: TenantId(1), name: "g".into(), filter: "t/#".into() };
    let message = StoredMessage {
        position: 7,
        topic: "t/x".into(),
        payload: "x".into(),
        qos: 1,
        retain: false,
        properties: None,
        identifiers: Vec::new(),
        expires_in: None,
        packet_id: None,
        released: false,
    };
    assert!(!GroupRestore::new(&broker.hub).restore(&group, message));
}

/// A client whose will waits for a minute, gone without good-bye.
async fn leaves_a_will(broker: &TestBroker, topic: &str) {
    let properties = Properties::default().long(WILL_DELAY, 60).text(CONTENT_TYPE, "text/plain");
    let will = publish(topic, "gone").qos1(0).with(properties);
    let hello = Connect::v5("d").persistent().will(will);
    Client::connect(broker, &hello).await.drop_connection(broker).await;
    until("it is parked", || broker.hub.registry.counts() == (0, 1)).await;
}

/// Catches a will that ends with the program, one that is sent early, one that has lost its properties, and one that stays in the table
/// when it was sent (`note_will_sent` left out).
#[tokio::test]
async fn a_delayed_will_is_sent_after_a_restart() {
    let (broker, sessions, groups) = stored().await;
    leaves_a_will(&broker, "will/d").await;
    let mut table = Table::default();
    table.write(&sessions, &groups);
    assert!(table.sessions[0].will.as_ref().is_some_and(|will| will.due_in > Duration::from_secs(30)));
    let (broker, sessions, groups) = restarted(&table).await;
    let mut listener = Client::connect(&broker, &Connect::v5("listener")).await;
    listener.subscribe("will/#", 2).await;
    broker.keep_house(Instant::now() + Duration::from_secs(20));
    listener.ping().await;
    broker.keep_house(Instant::now() + Duration::from_secs(61));
    let heard = listener.published().await;
    assert_eq!((heard.topic.as_str(), &heard.payload[..], heard.qos), ("will/d", &b"gone"[..], 1));
    assert_eq!(heard.properties.text(CONTENT_TYPE), Some("text/plain"));
    table.write(&sessions, &groups);
    assert_eq!(table.sessions.iter().map(|held| held.will.clone()).collect::<Vec<_>>(), [None]);
}

/// Catches a will that is sent although its client came back in time.
#[tokio::test]
async fn a_client_that_comes_back_after_a_restart_takes_its_will_away() {
    let (broker, sessions, groups) = stored().await;
    leaves_a_will(&broker, "will/d").await;
    let mut table = Table::default();
    table.write(&sessions, &groups);
    let (broker, sessions, groups) = restarted(&table).await;
    let mut listener = Client::connect(&broker, &Connect::v5("listener")).await;
    listener.subscribe("will/#", 2).await;
    let back = Client::connect(&broker, &Connect::v5("d").persistent()).await;
    assert!(back.connack.session_present);
    table.write(&sessions, &groups);
    assert!(table.sessions.iter().all(|held| held.will.is_none()));
    broker.keep_house(Instant::now() + Duration::from_secs(61));
    listener.ping().await;
}

/// Catches usage in a will that is stored in the name of nobody, or without the ICCID that its sender is bound to.
#[tokio::test]
async fn usage_in_a_will_keeps_its_sender() {
    let (broker, sessions, groups) = stored().await;
    leaves_a_will(&broker, USAGE).await;
    let mut table = Table::default();
    table.write(&sessions, &groups);
    let will = table.sessions[0].will.as_mut().unwrap();
    will.message["iccid"] = "8988247000000000012".into();
    will.message["mayCorrect"] = true.into();
    let (mut broker, ..) = restarted(&table).await;
    broker.keep_house(Instant::now() + Duration::from_secs(61));
    let sender = broker.writer.take().await.0.sender;
    assert_eq!((sender.tenant, &*sender.name, sender.may_correct), (TenantId(1), "d", true));
    assert_eq!(sender.iccid.as_ref().map(ToString::to_string).as_deref(), Some("8988247000000000012"));
}

/// Catches a session that outlives its end by a restart, and the will that it takes along.
#[tokio::test]
async fn a_session_that_ended_while_the_program_was_away_sends_its_will_first_of_all() {
    let (broker, sessions, groups) = stored().await;
    leaves_a_will(&broker, "will/d").await;
    let mut table = Table::default();
    table.write(&sessions, &groups);
    table.sessions[0].expires_in = Some(Duration::ZERO);
    let listener = StoredSession {
        client_id: "listener".into(),
        expires_in: Some(Duration::from_secs(60)),
        subscriptions: serde_json::json!([{ "filter": "will/#", "qos": 1 }]),
        will: None,
        ..table.sessions[0].clone()
    };
    table.sessions.push(listener);
    let (broker, ..) = restarted(&table).await;
    broker.keep_house(Instant::now());
    let mut listener = Client::connect(&broker, &Connect::v5("listener").persistent()).await;
    assert_eq!(listener.heard().await, ("will/d".into(), "gone".into()));
    assert!(!Client::connect(&broker, &Connect::v5("d").persistent()).await.connack.session_present);
}

/// Catches a list of changes that grows with every client that comes and goes while the database is away.
#[tokio::test]
async fn sessions_that_come_and_go_unwritten_leave_nothing_to_be_written() {
    let (broker, sessions, groups) = stored().await;
    let kept = Client::connect(&broker, &Connect::v5("kept").persistent()).await;
    for n in 0..50 {
        let id = format!("d{n}");
        let mut client = Client::connect(&broker, &Connect::v5(&id).persistent()).await;
        client.subscribe(&format!("$share/g{n}/t"), 1).await;
        client.leave().await;
        Client::connect(&broker, &Connect::v5(&id)).await.leave().await;
    }
    until("they are gone", || broker.hub.registry.counts() == (1, 0)).await;
    assert_eq!((broker.hub.journal.len(), broker.hub.shared.journal().len()), (1, 0));
    kept.leave().await;
    let mut table = Table::default();
    table.write(&sessions, &groups);
    assert_eq!(table.sessions.iter().map(|held| &*held.client_id).collect::<Vec<_>>(), ["kept"]);
}
