use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;

use nix::unistd::User;

use super::roles::command;
use super::*;

/// Runs a role as someone who is not root: as `nobody` when this is root, else as whoever this is.
fn as_ordinary_user(place: &Place, role: &str, data: &Path) -> (u32, String) {
    let binary = place.dir.path().join("tests");
    // The build directory may be closed to others.
    fs::copy(std::env::current_exe().unwrap(), &binary).unwrap();
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
    let mut role = command(&binary, role, data);
    let mut uid = nix::unistd::geteuid().as_raw();
    if uid == 0 {
        let nobody = User::from_name("nobody").unwrap().unwrap();
        uid = nobody.uid.as_raw();
        role.uid(uid).gid(nobody.gid.as_raw()).current_dir("/");
    }
    let done = loop {
        match role.output() {
            // Another test forked while the copy was open for writing, and its child has not yet replaced itself.
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
            done => break done.unwrap(),
        }
    };
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
    (uid, said)
}

#[test]
fn an_ordinary_user_runs_the_server_without_any_privilege() {
    let place = Place::new();
    let work = place.dir.path().join("work");
    fs::create_dir(&work).unwrap();
    fs::set_permissions(&work, fs::Permissions::from_mode(0o777)).unwrap();
    let (uid, said) = as_ordinary_user(&place, "whole_life", &work.join("data"));
    assert!(said.contains(&format!("lived as {uid}")), "{said}");
    assert_eq!(fs::metadata(work.join("data/postgres")).unwrap().uid(), uid);
}

#[test]
fn an_unwritable_directory_is_named_in_one_line() {
    let place = Place::new();
    let work = place.dir.path().join("work");
    fs::create_dir(&work).unwrap();
    fs::set_permissions(&work, fs::Permissions::from_mode(0o555)).unwrap();
    let (_, said) = as_ordinary_user(&place, "refused", &work.join("data"));
    let line = format!("refused: no access to {}: Permission denied", work.join("data").display());
    assert!(said.contains(&line), "{said}");
}

#[tokio::test]
async fn an_ordinary_user_does_not_get_the_cluster_of_another() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let place = Place::new();
    place.start().await.stop().await.unwrap();
    let lock = place.data().join("postgres.lock");
    fs::set_permissions(&lock, fs::Permissions::from_mode(0o666)).unwrap();
    let (_, said) = as_ordinary_user(&place, "refused", &place.data());
    assert!(said.contains("belongs to user id"), "{said}");
}

/// Root meets a cluster that an ordinary user made, and runs it as that user.
#[tokio::test]
async fn root_runs_another_users_cluster_as_that_user() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let place = Place::new();
    let nobody = User::from_name("nobody").unwrap().unwrap();
    fs::create_dir_all(place.cluster()).unwrap();
    chown(place.cluster(), Some(nobody.uid.as_raw()), Some(nobody.gid.as_raw())).unwrap();
    let postgres = place.start().await;
    let server = fs::metadata(format!("/proc/{}", postgres.pid())).unwrap();
    assert_eq!(server.uid(), nobody.uid.as_raw());
    postgres.stop().await.unwrap();
}
