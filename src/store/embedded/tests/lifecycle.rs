use std::os::unix::fs::MetadataExt;
use std::time::Instant;

use super::*;

#[tokio::test]
async fn the_first_start_makes_a_durable_private_server() {
    let place = Place::new();
    let began = Instant::now();
    let postgres = EmbeddedPostgres::start(EmbeddedOptions::new(place.data())).await.unwrap();
    println!("first start: {:?}", began.elapsed());
    postgres.stop_when_this_process_ends(Some(place.dir.path())).unwrap();

    let client = connect(&postgres).await;
    for (name, value) in [
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("synchronous_commit", "on"),
        ("data_checksums", "on"),
        ("listen_addresses", ""),
        ("server_encoding", "UTF8"),
        ("lc_collate", "C"),
        ("TimeZone", "UTC"),
        ("jit", "off"),
        ("max_connections", "60"),
        ("unix_socket_permissions", "0700"),
    ] {
        assert_eq!(setting(&client, name).await, value, "{name}");
    }
    let buffers = setting(&client, "shared_buffers").await;
    let buffers_mb = match buffers.strip_suffix("GB") {
        Some(gigabytes) => gigabytes.parse::<u64>().unwrap() * 1024,
        None => buffers.strip_suffix("MB").unwrap().parse().unwrap(),
    };
    assert!((128..=8192).contains(&buffers_mb), "a share of the memory: {buffers}");
    let best = "SELECT CASE WHEN 'lz4' = ANY (enumvals) THEN 'lz4' ELSE 'pglz' END FROM pg_settings WHERE name = 'wal_compression'";
    let best: String = client.query_one(best, &[]).await.unwrap().get(0);
    assert_eq!(setting(&client, "wal_compression").await, best);
    let row = client.query_one("SELECT current_database()::text, current_user::text", &[]).await.unwrap();
    assert_eq!((row.get(0), row.get(1)), ("simbridge", "simbridge"));
    postgres.stop().await.unwrap();

    let began = Instant::now();
    let postgres = EmbeddedPostgres::start(EmbeddedOptions::new(place.data())).await.unwrap();
    println!("later start: {:?}", began.elapsed());
    assert!(!postgres.adopted());
    let began = Instant::now();
    postgres.stop().await.unwrap();
    println!("stop: {:?}", began.elapsed());
}

#[tokio::test]
async fn root_does_not_run_the_server() {
    let place = Place::new();
    let postgres = place.start().await;
    let server = std::fs::metadata(format!("/proc/{}", postgres.pid())).unwrap();
    assert_ne!(server.uid(), 0);
    let owner = std::fs::metadata(place.cluster()).unwrap();
    assert_eq!((owner.uid(), owner.mode() & 0o777), (server.uid(), 0o700));
    let password = std::fs::metadata(place.data().join("postgres.password")).unwrap();
    assert_eq!(password.mode() & 0o777, 0o600);
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn stop_leaves_no_process_and_a_second_stop_is_harmless() {
    let place = Place::new();
    let postgres = place.start().await;
    let client = connect(&postgres).await;
    assert!(processes_in(&place.cluster()).len() > 1);
    postgres.stop().await.unwrap();
    assert_eq!(processes_in(&place.cluster()), Vec::<i32>::new());
    assert_eq!(postgres.pid(), 0);
    assert!(client.simple_query("SELECT 1").await.is_err());
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_dropped_server_stops_by_itself() {
    let place = Place::new();
    let postgres = place.start().await;
    let pid = postgres.pid();
    drop(postgres);
    until("the dropped server is gone", || !is_alive(pid)).await;
}

#[tokio::test]
async fn a_start_finds_the_data_of_the_one_before() {
    let place = Place::new();
    let postgres = place.start().await;
    connect(&postgres)
        .await
        .batch_execute("CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)")
        .await
        .unwrap();
    // Dropped, not stopped: the next start meets a server that is shutting down.
    drop(postgres);
    let postgres = place.start().await;
    let row = connect(&postgres).await.query_one("SELECT n FROM kept", &[]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0), 7);
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_long_data_directory_gets_a_short_socket() {
    let place = Place::new();
    let data = place.dir.path().join("long".repeat(20)).join("and \"quoted\", too");
    let postgres = EmbeddedPostgres::start(options(&data)).await.unwrap();
    postgres.stop_when_this_process_ends(Some(place.dir.path())).unwrap();
    let socket_dir = postgres.socket_dir.clone();
    assert!(!socket_dir.starts_with(&data));
    connect(&postgres).await;
    postgres.stop().await.unwrap();
    assert!(!socket_dir.exists());
}

#[tokio::test]
async fn an_odd_data_directory_is_no_obstacle() {
    let place = Place::new();
    let postgres = EmbeddedPostgres::start(options(&place.dir.path().join("a, b\"c' ü"))).await.unwrap();
    postgres.stop_when_this_process_ends(None).unwrap();
    connect(&postgres).await;
    let parsed: tokio_postgres::Config = postgres.url().parse().unwrap();
    assert_eq!(parsed.get_hosts(), postgres.config().get_hosts());
    assert_eq!(parsed.get_password(), postgres.config().get_password());
    assert!(postgres.redacted_url().starts_with("postgresql://simbridge:***@/simbridge?host=/tmp/"));
    postgres.stop().await.unwrap();
}

/// Catches a start that is given up while the server recovers: whoever starts it next begins the recovery anew, and so on.
#[tokio::test]
async fn a_start_that_lasts_is_waited_for() {
    let place = Place::new();
    let mut options = place.options();
    options.start_timeout = Duration::from_millis(1);
    let postgres = EmbeddedPostgres::start(options.clone()).await.unwrap();
    postgres.stop_when_this_process_ends(Some(place.dir.path())).unwrap();
    connect(&postgres).await.batch_execute("CREATE TABLE kept AS SELECT 1 AS n").await.unwrap();
    send(postgres.pid(), Signal::SIGKILL);
    drop(postgres);
    let recovered = EmbeddedPostgres::start(options).await.unwrap();
    let kept = connect(&recovered).await.query("SELECT n FROM kept", &[]).await.unwrap();
    assert_eq!(kept.len(), 1);
    recovered.stop().await.unwrap();
}
