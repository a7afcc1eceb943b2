//! Admission by a clock that the test moves.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::broker::admission::{Admission, Arrival, TurnedAway};
use crate::config::admission::AdmissionConfig;
use crate::config::mqtt::MqttConfig;

fn admission(change: impl FnOnce(&mut AdmissionConfig)) -> Arc<Admission> {
    let mut config = MqttConfig::default();
    change(&mut config.admission);
    Arc::new(Admission::new(&config, Arc::default()))
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn seconds(arrival: &Result<Arrival, TurnedAway>, now: Instant) -> Result<u64, TurnedAway> {
    arrival.as_ref().map(|arrival| arrival.waits(now).as_secs()).map_err(|away| *away)
}

/// Catches defaults that turn a fleet away which stands behind one address of its carrier.
#[test]
fn ten_thousand_devices_behind_one_address_come_back_within_eight_seconds() {
    let (admission, now) = (admission(|_| {}), Instant::now());
    let arrivals: Vec<_> = (0..10_000).map(|_| admission.arrive(address("198.51.100.7"), now)).collect();
    let waits: Vec<_> = arrivals.iter().map(|arrival| seconds(arrival, now).unwrap()).collect();
    assert_eq!((waits[1999], waits[3000], waits[9999]), (0, 1, 8));
    // Meanwhile another address is not kept waiting.
    let later = now + Duration::from_secs(2);
    let other = admission.arrive(address("203.0.113.9"), later).unwrap();
    assert_eq!(other.waits(later), Duration::ZERO);
    // Those that give up and come back are in the line once more, and the line is not endless.
    let again: Vec<_> = (0..4_000).map(|_| admission.arrive(address("198.51.100.7"), now)).collect();
    assert_eq!(again.iter().filter(|arrival| arrival.is_err()).count(), 0);
    let more = admission.arrive(address("198.51.100.7"), now);
    assert_eq!(more.err(), Some(TurnedAway::TooManyWaiting));
}

/// Catches an attack that uses up what all share although it is turned away.
#[test]
fn who_is_turned_away_takes_nothing_from_others() {
    let admission = admission(|admission| {
        (admission.connections_per_second, admission.connection_burst) = (10, 10);
        (admission.connections_per_second_per_address, admission.connection_burst_per_address) = (1, 2);
        admission.max_wait_seconds = 1;
    });
    let now = Instant::now();
    let greedy: Vec<_> = (0..100).map(|_| admission.arrive(address("192.0.2.1"), now)).collect();
    let away = |arrival: &Result<Arrival, _>| arrival.as_ref().err() == Some(&TurnedAway::AddressRate);
    assert_eq!(greedy.iter().filter(|arrival| away(arrival)).count(), 97);
    assert_eq!(seconds(&admission.arrive(address("192.0.2.2"), now), now), Ok(0));
}

/// Catches a host that has a new address for each connection.
#[test]
fn a_network_of_ipv6_is_one_address_and_mapped_ipv4_is_itself() {
    let admission = admission(|admission| admission.max_connections_per_address = 1);
    let now = Instant::now();
    let _held = admission.arrive(address("2001:db8:1:2::1"), now).ok();
    let refused = |text| admission.arrive(address(text), now).err();
    assert_eq!(refused("2001:db8:1:2:ffff::9"), Some(TurnedAway::TooManyOfAddress));
    assert_eq!(refused("2001:db8:1:3::1"), None);
    let _mapped = admission.arrive(address("::ffff:192.0.2.1"), now).ok();
    assert_eq!(refused("192.0.2.1"), Some(TurnedAway::TooManyOfAddress));
    assert_eq!(refused("192.0.2.2"), None);
}

/// Catches a table that grows with every address that ever came, and one that locks strangers out when it is full.
#[test]
fn addresses_are_remembered_while_that_matters_and_so_many_at_most() {
    let admission = admission(|admission| {
        admission.max_addresses = 2;
        admission.connections_per_second_per_address = 1;
        admission.connection_burst_per_address = 600;
    });
    let now = Instant::now();
    let arrive = |last: u8, at| admission.arrive(address(&format!("192.0.2.{last}")), at);
    // So many connections that each address has minutes to rest, however long this test takes.
    let open: Vec<_> = (0..10).flat_map(|last| [(); 500].map(|()| arrive(last, now))).collect();
    assert!(open.iter().all(Result::is_ok));
    assert_eq!(admission.addresses(), 2);
    let rested = now + Duration::from_secs(600);
    admission.tidy(rested);
    assert_eq!(admission.addresses(), 2, "they are connected");
    drop(open);
    assert_eq!(admission.addresses(), 2, "they would have to wait");
    admission.tidy(rested);
    assert_eq!(admission.addresses(), 0);
}

/// Catches waiting connections that are not counted, a place that is not given back, and a bound that is off by one.
#[test]
fn so_many_connections_wait_and_no_more() {
    let admission = admission(|admission| {
        admission.connections_per_second_per_address = 1;
        admission.connection_burst_per_address = 1;
        admission.max_waiting_connections = 3;
    });
    let now = Instant::now();
    let arrive = || admission.arrive(address("192.0.2.1"), now);
    let mut arrivals: Vec<_> = (0..4).map(|_| arrive()).collect();
    let waits: Vec<_> = arrivals.iter().map(|arrival| seconds(arrival, now)).collect();
    assert_eq!(waits, [Ok(0), Ok(1), Ok(2), Ok(3)]);
    assert_eq!(arrive().err(), Some(TurnedAway::TooManyWaiting));
    // Who does not wait takes no place, and who is gone takes none any more.
    drop(arrivals.remove(0));
    assert_eq!(arrive().err(), Some(TurnedAway::TooManyWaiting));
    drop(arrivals.pop());
    assert_eq!(seconds(&arrive(), now), Ok(4));
}
