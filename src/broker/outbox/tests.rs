use bytes::Bytes;

use super::*;
use crate::domain::TenantId;

fn outboxes(max_messages: usize, in_all: usize, patience: Duration) -> Arc<Outboxes> {
    let (max_bytes, max_bytes_in_all) = (1 << 20, in_all);
    Arc::new(Outboxes::new(OutboxLimits { max_messages, max_bytes, max_bytes_in_all, patience }))
}

fn delivery(number: usize, qos: QoS) -> Delivery {
    let payload = Bytes::from(number.to_string());
    let publication = Publication::new(TenantId(1), "t".into(), payload, None, Instant::now());
    Delivery { publication: Arc::new(publication), qos, retain: false, identifiers: Vec::new(), share: None }
}

fn numbers(taken: &[(u64, Delivery)]) -> Vec<usize> {
    taken.iter().map(|(_, d)| std::str::from_utf8(&d.publication.payload).unwrap().parse().unwrap()).collect()
}

const KEPT: Pushed = Pushed { dropped: 0, gave_way: 0, hold: false };

/// Catches a queue without end, and a newest message that gives way to an old one.
#[test]
fn while_nobody_reads_the_oldest_give_way_and_qos_0_takes_half_of_the_room() {
    let outbox = outboxes(10, 1 << 20, Duration::from_secs(60)).open();
    for n in 0..6 {
        assert_eq!(outbox.push(delivery(n, QoS::AtMostOnce)), KEPT);
    }
    assert_eq!(outbox.push(delivery(6, QoS::AtMostOnce)), Pushed { dropped: 1, ..KEPT });
    for n in 10..14 {
        assert_eq!(outbox.push(delivery(n, QoS::AtLeastOnce)), KEPT);
    }
    assert_eq!(outbox.push(delivery(14, QoS::AtLeastOnce)), Pushed { gave_way: 1, ..KEPT });
    let taken = outbox.take(usize::MAX, 3);
    assert_eq!(numbers(&taken), [1, 2, 3, 4, 5, 10, 11, 12]);
    assert!(outbox.take(usize::MAX, 0).is_empty());
    assert_eq!(numbers(&outbox.take(1, 9)), [13]);
    assert_eq!(numbers(&outbox.take(1, 9)), [14]);
}

/// Catches bytes in all that are not counted down, whoever lets them go.
#[test]
fn all_outboxes_together_are_bounded() {
    let one = delivery(1, QoS::AtLeastOnce).publication.bytes();
    let outboxes = outboxes(100, 4 * one, Duration::ZERO);
    let (first, second) = (outboxes.open(), outboxes.open());
    for n in 0..3 {
        assert_eq!(first.push(delivery(n, QoS::AtLeastOnce)), KEPT);
    }
    assert_eq!(second.push(delivery(3, QoS::AtLeastOnce)), KEPT);
    assert_eq!(second.push(delivery(4, QoS::AtLeastOnce)), Pushed { gave_way: 1, ..KEPT });
    first.take(1, 1);
    assert_eq!(second.push(delivery(5, QoS::AtLeastOnce)), KEPT);
    drop((first, second));
    assert_eq!(outboxes.bytes_in_all.load(Ordering::Relaxed), 0);
}

/// Catches publishers that wait for a client that is away or stands still, and those that do not wait for a busy one.
#[tokio::test]
async fn publishers_wait_for_a_reader_that_takes_and_for_no_other() {
    // No patience, or more than the test takes.
    for (patience, waits) in [(Duration::ZERO, false), (Duration::from_secs(3600), true)] {
        let outbox = outboxes(10, 1 << 20, patience).open();
        for n in 0..6 {
            assert!(!outbox.push(delivery(n, QoS::AtLeastOnce)).hold, "nobody reads");
        }
        let reader = outbox.read();
        assert_eq!(outbox.push(delivery(6, QoS::AtLeastOnce)).hold, waits);
        assert_eq!(outbox.push(delivery(7, QoS::AtMostOnce)).dropped == 0, waits);
        assert_eq!(outbox.holds(), waits);
        if waits {
            let waiting = tokio::spawn({
                let outbox = outbox.clone();
                async move { outbox.relaxed().await }
            });
            outbox.take(1, 3);
            assert!(outbox.holds(), "more than a quarter is left");
            outbox.take(usize::MAX, 5);
            waiting.await.unwrap();
            for n in 10..16 {
                outbox.push(delivery(n, QoS::AtLeastOnce));
            }
            assert!(outbox.holds());
        }
        drop(reader);
        assert!(!outbox.holds(), "the reader has gone");
        outbox.relaxed().await;
    }
}
