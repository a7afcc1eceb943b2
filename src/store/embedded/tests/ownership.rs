use super::roles::Owner;
use super::*;
use crate::store::embedded::EmbeddedError;

#[tokio::test]
async fn an_orphan_is_adopted_after_its_owner_was_killed() {
    let place = Place::new();
    let owner = Owner::run("owner", &place.data());
    let postmaster = owner.postmaster;
    owner.kill();
    assert!(is_alive(postmaster));

    let postgres = place.start().await;
    assert!(postgres.adopted());
    assert_eq!(postgres.pid(), postmaster);
    let client = connect(&postgres).await;
    client.simple_query("SELECT 1").await.unwrap();
    postgres.stop().await.unwrap();
    assert!(!is_alive(postmaster));
}

#[tokio::test]
async fn a_second_owner_is_told_which_process_is_the_first() {
    let place = Place::new();
    let owner = Owner::run("owner", &place.data());
    let refused = EmbeddedPostgres::start(place.options()).await.unwrap_err();
    assert!(
        matches!(refused, EmbeddedError::InUse { pid: Some(pid), .. } if pid.cast_unsigned() == owner.pid())
    );
    assert!(refused.to_string().starts_with(&format!("data directory is in use by process {}", owner.pid())));
    assert!(refused.is_unavailable());
    owner.kill();
    place.start().await.stop().await.unwrap();
}

#[tokio::test]
async fn a_stopped_owner_frees_the_data_directory_at_once() {
    let place = Place::new();
    let first = place.start().await;
    assert!(matches!(EmbeddedPostgres::start(place.options()).await, Err(EmbeddedError::InUse { .. })));
    first.stop().await.unwrap();
    let second = place.start().await;
    // The first one still exists and must not touch what is no longer its own.
    drop(first);
    connect(&second).await.simple_query("SELECT 1").await.unwrap();
    second.stop().await.unwrap();
}

#[tokio::test]
async fn a_killed_test_run_leaves_neither_server_nor_directory() {
    let place = Place::new();
    let run = place.dir.path().join("run");
    std::fs::create_dir(&run).unwrap();
    let owner = Owner::run("watched_owner", &run.join("data"));
    let postmaster = owner.postmaster;
    owner.kill();
    until("the watchdog has stopped the server", || !is_alive(postmaster)).await;
    until("the watchdog has removed the directory", || !run.exists()).await;
}

#[tokio::test]
async fn an_orphan_whose_socket_is_gone_is_replaced() {
    let place = Place::new();
    let owner = Owner::run("owner", &place.data());
    let postmaster = owner.postmaster;
    owner.kill();
    std::fs::remove_file(place.data().join("run/.s.PGSQL.5432")).unwrap();
    let postgres = place.start().await;
    assert!(!postgres.adopted());
    assert!(!is_alive(postmaster));
    connect(&postgres).await.simple_query("SELECT 1").await.unwrap();
    postgres.stop().await.unwrap();
}

/// After a crash of the machine, or in a new container, any process may have the number that the files name.
#[tokio::test]
async fn stale_lock_files_that_name_a_stranger_do_not_prevent_the_start() {
    let place = Place::new();
    let owner = Owner::run("owner", &place.data());
    let postmaster = owner.postmaster;
    owner.kill();
    let files =
        [place.cluster().join("postmaster.pid"), place.data().join("run/.s.PGSQL.5432.lock")].map(|file| {
            let text = std::fs::read_to_string(&file).unwrap();
            (file, text)
        });
    send(postmaster, Signal::SIGKILL);
    until("the server's processes are gone", || processes_in(&place.cluster()).is_empty()).await;

    // PostgreSQL believes in strangers of its own user only.
    let server_user = std::fs::metadata(place.cluster()).unwrap();
    let (uid, gid) = (
        std::os::unix::fs::MetadataExt::uid(&server_user),
        std::os::unix::fs::MetadataExt::gid(&server_user),
    );
    let mut sleeper = std::process::Command::new("sleep");
    std::os::unix::process::CommandExt::uid(&mut sleeper, uid);
    std::os::unix::process::CommandExt::gid(&mut sleeper, gid);
    let mut stranger = sleeper.arg("600").spawn().unwrap();
    for (file, text) in files {
        let stale = text.replacen(&postmaster.to_string(), &stranger.id().to_string(), 1);
        std::fs::write(file, stale).unwrap();
    }

    let postgres = EmbeddedPostgres::start(place.options()).await;
    let unharmed = stranger.try_wait().unwrap().is_none();
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    postgres.unwrap().stop().await.unwrap();
    assert!(unharmed);
}

#[tokio::test]
async fn a_server_that_an_operator_started_by_hand_is_left_alone() {
    let place = Place::new();
    let postgres = place.start().await;
    let (account, program) = (postgres.account.clone(), postgres.binaries.postgres());
    postgres.stop().await.unwrap();

    let mut command = account.command(&program);
    command.arg("-D").arg(place.cluster()).args(["-c", "listen_addresses=", "-c", "port=5433"]);
    command.arg("-c").arg(format!("unix_socket_directories={}", place.data().join("run").display()));
    let mut server = command.spawn().unwrap();
    until("the operator's server runs", || place.data().join("run/.s.PGSQL.5433").exists()).await;
    let refused = EmbeddedPostgres::start(place.options()).await.unwrap_err();
    assert!(
        matches!(refused, EmbeddedError::InUse { pid: Some(pid), .. } if pid.cast_unsigned() == server.id())
    );
    assert!(server.try_wait().unwrap().is_none());
    send(server.id().cast_signed(), Signal::SIGINT);
    server.wait().unwrap();
    place.start().await.stop().await.unwrap();
}
