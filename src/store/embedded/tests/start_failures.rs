use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::roles::command;
use super::*;
use crate::store::embedded::EmbeddedError;

async fn refusal(options: EmbeddedOptions) -> EmbeddedError {
    let error = EmbeddedPostgres::start(options).await.unwrap_err();
    assert_eq!(error.to_string().lines().count(), 1, "{error}");
    error
}

#[tokio::test]
async fn a_cluster_of_another_major_version_is_refused() {
    let place = Place::new();
    fs::create_dir_all(place.cluster()).unwrap();
    fs::write(place.cluster().join("PG_VERSION"), "9\n").unwrap();
    let error = refusal(place.options()).await;
    assert!(matches!(error, EmbeddedError::OtherMajor { data_major: 9, .. }));
    assert!(!error.is_unavailable());
    assert!(error.to_string().contains("install PostgreSQL 9"), "{error}");
    assert_eq!(fs::read_to_string(place.cluster().join("PG_VERSION")).unwrap(), "9\n");
}

#[tokio::test]
async fn a_directory_of_something_else_is_not_touched() {
    let place = Place::new();
    fs::create_dir_all(place.cluster()).unwrap();
    fs::write(place.cluster().join("thesis.txt"), "mine").unwrap();
    assert!(matches!(refusal(place.options()).await, EmbeddedError::NotACluster { .. }));
    assert_eq!(fs::read_to_string(place.cluster().join("thesis.txt")).unwrap(), "mine");
}

#[tokio::test]
async fn an_empty_cluster_directory_is_used() {
    let place = Place::new();
    fs::create_dir_all(place.cluster()).unwrap();
    place.start().await.stop().await.unwrap();
}

#[tokio::test]
async fn a_bin_dir_without_postgresql_is_a_configuration_error() {
    let place = Place::new();
    let mut options = place.options();
    options.bin_dir = Some(place.dir.path().to_owned());
    let error = refusal(options).await;
    assert!(matches!(error, EmbeddedError::BinDir { .. }));
    assert!(!error.is_unavailable());
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_made_is_named() {
    let place = Place::new();
    fs::write(place.data(), "a file").unwrap();
    let error = refusal(place.options()).await;
    assert!(error.to_string().contains(place.data().to_str().unwrap()), "{error}");
    let error = refusal(options(Path::new("/proc/simbridge"))).await;
    assert!(error.to_string().contains("/proc/simbridge"), "{error}");
}

#[tokio::test]
async fn a_data_directory_below_a_closed_one_is_explained() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let place = Place::new();
    let home = place.dir.path().join("home");
    fs::create_dir(&home).unwrap();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
    let error = refusal(options(&home.join("data"))).await;
    assert!(matches!(&error, EmbeddedError::NotTraversable { closed, .. } if *closed == home));
    let line = error.to_string();
    assert!(line.contains("which may not enter") && line.contains("--data-dir"), "{line}");
    assert!(!error.is_unavailable());
}

/// The killed process leaves an initdb that goes on writing for a while.
#[tokio::test]
async fn a_first_start_killed_during_initdb_is_started_over() {
    let place = Place::new();
    let mut owner = command(&std::env::current_exe().unwrap(), "owner", &place.data()).spawn().unwrap();
    until("initdb has begun to write", || !partials(&place).is_empty()).await;
    owner.kill().unwrap();
    owner.wait().unwrap();
    assert!(!place.cluster().exists(), "initdb was quicker than the kill");
    let postgres = place.start().await;
    connect(&postgres).await.simple_query("SELECT 1").await.unwrap();
    postgres.stop().await.unwrap();
}

fn partials(place: &Place) -> Vec<PathBuf> {
    let entries = fs::read_dir(place.data()).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| path.to_string_lossy().contains("postgres.partial-")).collect()
}

#[tokio::test]
async fn what_an_interrupted_initdb_left_is_removed() {
    let place = Place::new();
    let partial = place.data().join("postgres.partial-0badcafe");
    fs::create_dir_all(partial.join("base/1")).unwrap();
    fs::write(partial.join("PG_VERSION"), "15\n").unwrap();
    fs::write(place.data().join("postgres.password.new"), "half").unwrap();
    let postgres = place.start().await;
    assert!(!partial.exists());
    connect(&postgres).await.simple_query("SELECT 1").await.unwrap();
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_first_start_cancelled_at_any_moment_can_be_repeated() {
    let place = Place::new();
    for milliseconds in [1, 20, 60, 150, 400, 800] {
        let start = EmbeddedPostgres::start(place.options());
        let _ = tokio::time::timeout(Duration::from_millis(milliseconds), start).await;
    }
    let postgres = place.start().await;
    connect(&postgres).await.simple_query("SELECT 1").await.unwrap();
    postgres.stop().await.unwrap();
    assert_eq!(processes_in(&place.cluster()), Vec::<i32>::new());
}

#[tokio::test]
async fn a_lost_password_is_noticed_before_anything_is_started() {
    let place = Place::new();
    place.start().await.stop().await.unwrap();
    let password = place.data().join("postgres.password");
    fs::remove_file(&password).unwrap();
    assert!(matches!(refusal(place.options()).await, EmbeddedError::PasswordMissing { .. }));
    fs::write(&password, "not it\n").unwrap();
    let error = refusal(place.options()).await;
    assert!(matches!(error, EmbeddedError::PasswordRefused { .. }), "{error}");
    until("no server is left", || processes_in(&place.cluster()).is_empty()).await;
}

#[tokio::test]
async fn a_failing_start_tells_the_servers_own_reason() {
    let place = Place::new();
    let mut options = place.options();
    options.settings.push(("max_connections".to_owned(), "many".to_owned()));
    let error = refusal(options).await;
    assert!(matches!(error, EmbeddedError::StartFailed { .. }));
    assert!(
        error.to_string().contains(r#"invalid value for parameter "max_connections": "many""#),
        "{error}"
    );
    assert!(error.is_unavailable());
}

#[tokio::test]
async fn a_large_log_is_put_aside_at_start() {
    let place = Place::new();
    fs::create_dir_all(place.data()).unwrap();
    let log = place.data().join("postgres.log");
    fs::write(&log, vec![b'x'; 11 * 1024 * 1024]).unwrap();
    place.start().await.stop().await.unwrap();
    assert!(fs::metadata(&log).unwrap().len() < 100_000);
    assert_eq!(fs::metadata(place.data().join("postgres.log.1")).unwrap().len(), 11 * 1024 * 1024);
}
