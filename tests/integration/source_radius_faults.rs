//! RADIUS accounting when something is wrong: hostile datagrams, an outage of the database, kills, overload.

use chrono::TimeDelta;

use crate::harness::bridge::{BridgeOptions, BridgeProcess};
use crate::harness::database::{TestDatabase, now, sim};
use crate::harness::eventually;
use crate::harness::proxy::Proxy;
use crate::harness::radius::{
    Attributes, INTERIM, Nas, STOP, Secrets, accounting, address, counted, number, report,
};

const ICCID: &str = "8941000000000000001";
const TOTAL: &str = "SELECT coalesce(sum(total_bytes), 0) FROM usage_records";
const RECEIVED: &str = "simbridge_source_messages_received_total";
const ANSWERED: &str = "simbridge_source_messages_acknowledged_total";

async fn with_sim() -> TestDatabase {
    let database = TestDatabase::new().await;
    database.import(&[sim(ICCID)]).await;
    database
}

async fn started(options: &BridgeOptions) -> (BridgeProcess, Nas) {
    let bridge = BridgeProcess::start(options).await;
    let nas = Nas::new(address(&bridge).await).await;
    (bridge, nas)
}

/// Session `session` has counted `input` octets `seconds` ago, when it had lasted for so long.
fn told(status: u32, session: &str, seconds: i64, input: u32, lasted: u32) -> Attributes {
    counted(report(status, session, ICCID, now() - TimeDelta::seconds(seconds)), input, 0, lasted)
}

fn dropped(reason: &str) -> String {
    format!("simbridge_source_radius_datagrams_dropped_total{{source=\"core\",reason=\"{reason}\"}}")
}

async fn total(database: &TestDatabase) -> i64 {
    database.assert_reconciled().await;
    database.number(TOTAL).await
}

/// Catches an answer to those who do not know the secret, a packet that ends the source, and a log that strangers fill.
#[tokio::test(flavor = "multi_thread")]
async fn datagrams_of_others_and_broken_ones_are_dropped_silently() {
    let (database, secrets) = (with_sim().await, Secrets::create());
    let (bridge, mut nas) = started(&accounting(&database.url(), &secrets, "")).await;
    let mut stranger = Nas::at("127.0.0.2:0", nas.server).await;
    let good = told(INTERIM, "s1", 60, 7, 30);
    for _ in 0..3 {
        let packet = stranger.packet(&good);
        stranger.send(&packet).await;
    }
    bridge.metric_becomes(&dropped("unknown_client"), 3.0).await;

    let mut thief = Nas::new(nas.server).await;
    thief.secret = "guessed".into();
    for attributes in [good.clone(), [good.clone(), vec![(80, vec![0; 16])]].concat()] {
        let packet = thief.packet(&attributes);
        thief.send(&packet).await;
    }
    // Signed with the secret, but its Message-Authenticator is another's.
    let packet = nas.packet(&[good.clone(), vec![(80, vec![7; 16])]].concat());
    nas.send(&packet).await;
    bridge.metric_becomes(&dropped("wrong_secret"), 3.0).await;

    let broken = broken_packets(&mut nas, &good);
    for packet in &broken {
        nas.send(packet).await;
    }
    bridge.metric_becomes(&dropped("malformed"), broken.len() as f64).await;

    assert_eq!(database.number("SELECT count(*) FROM record_keys").await, 0);
    nas.assert_silence();
    nas.tell(&good).await;
    for client in [&stranger, &thief] {
        client.assert_silence();
    }
    let lines = bridge.log().iter().filter(|line| line.contains("a datagram was dropped")).count();
    assert_eq!(lines, 3, "one for each address and reason");
    assert_eq!(total(&database).await, 7);
    assert_eq!(bridge.terminate().await, Some(0));
}

/// Packets that whoever knows the secret could send, each broken in one way.
fn broken_packets(nas: &mut Nas, good: &Attributes) -> Vec<Vec<u8>> {
    let whole = nas.packet(good);
    let mut packets = vec![Vec::new(), whole[..19].to_vec(), whole[..whole.len() - 1].to_vec()];
    // The first attribute's length.
    for length in [0, 1, 255] {
        let mut packet = whole.clone();
        packet[21] = length;
        packets.push(nas.sign(packet));
    }
    // Access-Request, Status-Server, and an answer.
    for code in [1, 12, 5] {
        let mut packet = whole.clone();
        packet[0] = code;
        packets.push(nas.sign(packet));
    }
    packets.push(nas.packet(&vec![(33, vec![0; 253]); 17]));
    let mut longer = nas.packet(&vec![(33, vec![0; 253]); 15]);
    longer.resize(5_000, 0);
    packets.push(longer);
    let without = |kind: u8| good.iter().filter(|(of, _)| *of != kind).cloned().collect::<Attributes>();
    for attributes in [without(40), without(44), [without(42), vec![(42, vec![1])]].concat(), Vec::new()] {
        packets.push(nas.packet(&attributes));
    }
    packets
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packet_as_long_as_one_may_be_is_answered_with_all_its_proxy_states() {
    let (database, secrets) = (with_sim().await, Secrets::create());
    let (bridge, mut nas) = started(&accounting(&database.url(), &secrets, "")).await;
    let mut attributes = told(INTERIM, "s1", 60, 7, 30);
    let plain = nas.packet(&attributes).len();
    attributes.extend(vec![(33, vec![1; 253]); (4_096 - plain) / 255]);
    let rest = 4_096 - nas.packet(&attributes).len();
    attributes.push((33, vec![2; rest - 2]));
    let packet = nas.packet(&attributes);
    assert_eq!(packet.len(), 4_096);
    assert_eq!(nas.ask(&packet).await.len(), 4_096 - plain + 20);
    assert_eq!(total(&database).await, 7);
    assert_eq!(bridge.terminate().await, Some(0));
}

/// Catches an answer before the COMMIT, and requests of the outage that count twice.
#[tokio::test(flavor = "multi_thread")]
async fn during_an_outage_nothing_is_answered_and_afterwards_all_of_it_once() {
    let (database, secrets) = (with_sim().await, Secrets::create());
    let proxy = Proxy::to(&database.name).await;
    let (bridge, mut nas) = started(&accounting(&proxy.url(), &secrets, "")).await;
    nas.tell(&told(INTERIM, "s1", 300, 100, 60)).await;
    let before = bridge.metric(RECEIVED).await;
    // Nothing that was repeated so far can come to this one.
    let mut nas = Nas::new(nas.server).await;
    proxy.refuse();
    // As a NAS does: the same packet twice, and then one that says how long it has been trying.
    let stop = nas.packet(&told(STOP, "s1", 200, 150, 160));
    let of_another = nas.packet(&told(INTERIM, "s2", 200, 30, 10));
    let mut later = told(STOP, "s1", 200, 150, 160);
    later.push(number(41, 5));
    let later = nas.packet(&later);
    for packet in [&stop, &of_another, &stop, &later] {
        nas.send(packet).await;
    }
    bridge.metric_becomes(RECEIVED, before + 4.0).await;
    eventually("the source says so", async || {
        (bridge.metric("simbridge_source_connected").await == 0.0).then_some(())
    })
    .await;
    nas.assert_silence();
    proxy.open();
    for packet in [&stop, &of_another, &later] {
        nas.assert_answer(&nas.receive().await, packet);
    }
    assert_eq!(total(&database).await, 180);
    nas.ask(&stop).await;
    assert_eq!(total(&database).await, 180);
    assert_eq!(bridge.metric("simbridge_source_connected").await, 1.0);
    assert_eq!(bridge.terminate().await, Some(0));
}

/// Catches a reply to COMMIT that is lost: the batch is written again, and must be found.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_reply_was_lost_counts_once() {
    let (database, secrets) = (with_sim().await, Secrets::create());
    let proxy = Proxy::to(&database.name).await;
    let (bridge, mut nas) = started(&accounting(&proxy.url(), &secrets, "")).await;
    proxy.lose_commits(3);
    for (n, input) in [10, 25, 45].into_iter().enumerate() {
        let seconds = 100 + u32::try_from(n).expect("a few");
        nas.tell(&told(INTERIM, "s1", 300 - i64::from(seconds), input, seconds)).await;
    }
    assert!(proxy.commits_lost() > 0);
    assert_eq!(total(&database).await, 45);
    assert_eq!(bridge.terminate().await, Some(0));
}

/// Catches an answer at receipt: the NAS would forget what the killed program had not committed.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_received_and_not_committed_is_not_answered_and_comes_again_after_a_kill() {
    let (database, secrets) = (with_sim().await, Secrets::create());
    let options = accounting(&database.url(), &secrets, "");
    let (bridge, mut nas) = started(&options).await;
    nas.tell(&told(INTERIM, "s0", 300, 100, 60)).await;
    let before = bridge.metric(RECEIVED).await;
    let mut nas = Nas::new(nas.server).await;
    database.run("BEGIN; LOCK TABLE usage_records IN EXCLUSIVE MODE").await;
    let packets: Vec<_> = (0..20).map(|n| nas.packet(&told(STOP, &format!("s{n}"), 200, 150, 160))).collect();
    for packet in &packets {
        nas.send(packet).await;
    }
    bridge.metric_becomes(RECEIVED, before + 20.0).await;
    assert_eq!(bridge.metric(ANSWERED).await, 1.0);
    bridge.kill().await;
    database.run("ROLLBACK").await;
    nas.assert_silence();
    // The server may be finishing the killed program's transaction.
    let bridge = BridgeProcess::start(&options).await;
    nas.server = address(&bridge).await;
    for packet in &packets {
        nas.ask(packet).await;
    }
    assert_eq!(total(&database).await, 20 * 150);
    let open = "SELECT count(*) FROM usage_sessions WHERE ended_at IS NULL";
    assert_eq!(database.number(open).await, 0);
    assert_eq!(bridge.terminate().await, Some(0));
}

/// Catches a stop that gives up what was received.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_answers_what_was_received() {
    let (database, secrets) = (with_sim().await, Secrets::create());
    let (bridge, mut nas) = started(&accounting(&database.url(), &secrets, "")).await;
    database.run("BEGIN; LOCK TABLE usage_records IN EXCLUSIVE MODE").await;
    let packets: Vec<_> = (0..5).map(|n| nas.packet(&told(STOP, &format!("s{n}"), 200, 10, 160))).collect();
    for packet in &packets {
        nas.send(packet).await;
    }
    bridge.metric_becomes(RECEIVED, 5.0).await;
    bridge.signal(nix::sys::signal::Signal::SIGTERM);
    eventually("it stops", async || (bridge.get("/readyz").await.0 == 503).then_some(())).await;
    nas.assert_silence();
    database.run("ROLLBACK").await;
    for _ in &packets {
        let answer = nas.receive().await;
        let asked = packets.iter().find(|packet| packet[1] == answer[1]).expect("it was asked");
        nas.assert_answer(&answer, asked);
    }
    assert_eq!(bridge.ended().await, Some(0));
    assert_eq!(total(&database).await, 50);
}

/// Catches memory without bound, and a request that was dropped and is taken for a repetition when it comes again.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_much_is_dropped_and_counts_when_it_comes_again() {
    let (database, secrets) = (with_sim().await, Secrets::create());
    let settings = "max_waiting_requests = 2, batch_max_requests = 1";
    let (bridge, mut nas) = started(&accounting(&database.url(), &secrets, settings)).await;
    database.run("BEGIN; LOCK TABLE usage_records IN EXCLUSIVE MODE").await;
    let packets: Vec<_> = (0..20).map(|n| nas.packet(&told(STOP, &format!("s{n}"), 200, 10, 160))).collect();
    for packet in &packets {
        nas.send(packet).await;
    }
    bridge.metric_becomes(RECEIVED, 20.0).await;
    // Two wait and one is being written.
    assert!(bridge.metric(&dropped("overload")).await >= 17.0);
    let warnings = bridge.log().iter().filter(|line| line.contains("requests are dropped")).count();
    assert_eq!(warnings, 1);
    database.run("ROLLBACK").await;
    for packet in &packets {
        nas.ask(packet).await;
    }
    assert_eq!(total(&database).await, 200);
    assert_eq!(bridge.terminate().await, Some(0));
}

/// Catches sessions that count once for each instance: a NAS whose first server does not answer turns to the second one.
#[tokio::test(flavor = "multi_thread")]
async fn two_instances_count_the_sessions_of_one_nas_together() {
    let (database, secrets) = (with_sim().await, Secrets::create());
    let options = accounting(&database.url(), &secrets, "");
    let (one, mut nas) = started(&options).await;
    let (two, other) = started(&options).await;
    let servers = [nas.server, other.server];
    for turn in 0..10u32 {
        nas.server = servers[turn as usize % 2];
        let packet = nas.packet(&told(INTERIM, "s1", i64::from(300 - turn), (turn + 1) * 10, turn));
        nas.ask(&packet).await;
        // And once more at the other one, which may not know of it.
        nas.server = servers[(turn as usize + 1) % 2];
        nas.ask(&packet).await;
    }
    assert_eq!(total(&database).await, 100);
    assert_eq!(database.number("SELECT count(*) FROM quarantine").await, 0);
    for bridge in [one, two] {
        assert_eq!(bridge.terminate().await, Some(0));
    }
}
