//! Logins that change or go while their clients are connected.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::broker::acl::{LoginChecks, LoginWatch, Principal};
use crate::broker::auth::LookupError;

use super::acl::{broker, user};
use super::client::{Client, Connect};
use super::harness::until;
use super::wire::publish;

/// What is stored of logins, as a test says it: their version, and `None` when the database goes away after that question.
type Stored = Arc<Mutex<(i64, Option<HashMap<Principal, i64>>)>>;

fn checks(stored: &Stored) -> LoginChecks {
    let (of_version, of_revisions) = (stored.clone(), stored.clone());
    LoginChecks {
        version: Arc::new(move || {
            let version = of_version.lock().unwrap().0;
            Box::pin(async move { Ok(version) })
        }),
        revisions: Arc::new(move |asked| {
            let known = of_revisions.lock().unwrap().1.clone();
            let answer =
                |known: HashMap<_, _>| known.into_iter().filter(|(p, _)| asked.contains(p)).collect();
            let found = known.map(answer).ok_or_else(|| LookupError("away".into()));
            Box::pin(async move { found })
        }),
    }
}

/// Catches a revocation that is forgotten when the database is away in the middle of it, and connections that end because it
/// is away.
#[tokio::test]
async fn a_database_that_is_away_ends_nobody_and_its_changes_count_when_it_is_back() {
    let broker = broker(&[user("one", (1, "acme"), None), user("two", (1, "acme"), None)]).await;
    let mut one = Client::connect(&broker, &Connect::v5("one").login("one", "secret")).await;
    let mut two = Client::connect(&broker, &Connect::v5("two").login("two", "secret")).await;
    let known = |names: &[&str]| names.iter().map(|name| (Principal::User((*name).into()), 1)).collect();
    let stored: Stored = Arc::new(Mutex::new((1, Some(known(&["one", "two"])))));
    let looks = Arc::new(AtomicUsize::new(0));
    let (mut counted, count) = (checks(&stored), looks.clone());
    let version = counted.version.clone();
    counted.version = Arc::new(move || {
        count.fetch_add(1, Ordering::SeqCst);
        version()
    });
    let stop = CancellationToken::new();
    let watch = LoginWatch::new(&broker.hub.registry, &broker.hub.config.acl);
    let watching = tokio::spawn(watch.run(counted, stop.clone()));
    let two_looks = || {
        let from = looks.load(Ordering::SeqCst);
        let looks = looks.clone();
        async move { until("two looks", || looks.load(Ordering::SeqCst) >= from + 2).await }
    };
    two_looks().await;
    *stored.lock().unwrap() = (2, None);
    two_looks().await;
    one.ping().await;
    *stored.lock().unwrap() = (2, Some(known(&["two"])));
    assert_eq!(one.ended().await, Some(0x98));
    two.ping().await;
    stop.cancel();
    watching.await.unwrap();
}

/// Catches an end that waits until its client reads (`dismissed` left out of `flush`, or the whole farewell).
#[tokio::test]
async fn a_revoked_client_that_does_not_read_is_gone_within_a_second_too() {
    let broker = broker(&[user("stuck", (1, "acme"), None), user("gateway", (1, "acme"), None)]).await;
    let mut stuck = Client::connect(&broker, &Connect::v5("stuck").login("stuck", "secret")).await;
    stuck.subscribe("t", 0).await;
    let mut gateway = Client::connect(&broker, &Connect::v5("gateway").login("gateway", "secret")).await;
    // More than the sockets take.
    for pkid in 1..=100 {
        gateway.publish(&publish("t", vec![b'x'; 200_000]).qos1(pkid)).await;
        assert_eq!(gateway.puback().await, pkid);
    }
    let gateway_only = HashMap::from([(Principal::User("gateway".into()), 1)]);
    let stored: Stored = Arc::new(Mutex::new((1, Some(gateway_only))));
    let watch = LoginWatch::new(&broker.hub.registry, &broker.hub.config.acl);
    let stop = CancellationToken::new();
    let watching = tokio::spawn(watch.run(checks(&stored), stop.clone()));
    let began = Instant::now();
    until("it is gone", || broker.metrics.disconnect_count("login_revoked") == 1).await;
    until("it is closed", || broker.metrics.connections.get() == 1).await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    gateway.ping().await;
    stop.cancel();
    watching.await.unwrap();
}

/// Catches a watch that holds on to a broker whose end everybody waits for, while the database does not answer it.
#[tokio::test]
async fn a_look_that_hangs_keeps_no_broker() {
    let mut broker = broker(&[]).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let hanging = LoginChecks {
        version: Arc::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
            Box::pin(std::future::pending())
        }),
        ..checks(&Stored::default())
    };
    let watch = LoginWatch::new(&broker.hub.registry, &broker.hub.config.acl);
    let stop = CancellationToken::new();
    let watching = tokio::spawn(watch.run(hanging, stop.clone()));
    until("it hangs", || asked.load(Ordering::SeqCst) > 0).await;
    broker.hard.cancel();
    broker.has_stopped().await;
    // The test's own.
    assert_eq!(Arc::strong_count(&broker.hub), 1);
    assert_eq!(Arc::strong_count(&broker.hub.registry), 1);
    stop.cancel();
    watching.await.unwrap();
}
