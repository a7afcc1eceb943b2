use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::roles::Owner;
use super::*;

async fn is_replaced_after(postgres: Arc<EmbeddedPostgres>, signal: Signal) {
    let stop = CancellationToken::new();
    let supervisor = tokio::spawn(postgres.clone().supervise(stop.clone()));
    let busy = connect(&postgres).await;
    busy.batch_execute("CREATE TABLE IF NOT EXISTS kept (n int); INSERT INTO kept VALUES (1)").await.unwrap();
    let killed = postgres.pid();
    let began = Instant::now();
    send(killed, signal);
    until("another server runs", || ![0, killed].contains(&postgres.pid())).await;
    let client = reconnect(&postgres).await;
    println!("replaced after {signal}: {:?}", began.elapsed());
    let rows = client.query("SELECT n FROM kept", &[]).await.unwrap();
    assert_eq!(rows.len(), 1);
    stop.cancel();
    supervisor.await.unwrap();
    assert!(is_alive(postgres.pid()), "the end of the supervision is not the end of the server");
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_killed_server_is_started_again() {
    let place = Place::new();
    let postgres = Arc::new(place.start().await);
    is_replaced_after(postgres, Signal::SIGKILL).await;
    assert_eq!(processes_in(&place.cluster()), Vec::<i32>::new());
}

#[tokio::test]
async fn a_server_that_someone_else_stopped_is_started_again() {
    let place = Place::new();
    let postgres = Arc::new(place.start().await);
    is_replaced_after(postgres, Signal::SIGINT).await;
}

#[tokio::test]
async fn an_adopted_server_is_supervised_too() {
    let place = Place::new();
    Owner::run("owner", &place.data()).kill();
    let postgres = Arc::new(place.start().await);
    assert!(postgres.adopted());
    is_replaced_after(postgres, Signal::SIGKILL).await;
}

/// A backend in the middle of a long computation does not notice that its postmaster is gone, and PostgreSQL does not
/// start beside it.
#[tokio::test]
async fn a_busy_backend_of_a_killed_server_is_not_in_the_way_of_the_next_one() {
    let place = Place::new();
    let postgres = Arc::new(place.start().await);
    let client = connect(&postgres).await;
    let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    let query = tokio::spawn(async move {
        client.simple_query("SELECT sum(sqrt(n)) FROM generate_series(1, 1000000000) AS n").await.is_ok()
    });
    let state = postgres.config().connect(NoTls).await.unwrap();
    tokio::spawn(state.1);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let active = "SELECT state = 'active' FROM pg_stat_activity WHERE pid = $1";
        if state.0.query_one(active, &[&pid]).await.unwrap().get(0) {
            break;
        }
        assert!(Instant::now() < deadline);
    }
    is_replaced_after(postgres, Signal::SIGKILL).await;
    assert!(!query.await.unwrap());
}

#[tokio::test]
async fn stop_ends_the_supervision() {
    let place = Place::new();
    let postgres = Arc::new(place.start().await);
    let supervisor = tokio::spawn(postgres.clone().supervise(CancellationToken::new()));
    postgres.stop().await.unwrap();
    supervisor.await.unwrap();
    assert_eq!(processes_in(&place.cluster()), Vec::<i32>::new());
}
