use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;

use nix::unistd::User;

use super::roles::command;
use super::*;

/// Root shows it by running this binary again as `nobody`; anyone else by running it as themselves.
#[test]
fn an_ordinary_user_runs_the_server_without_any_privilege() {
    let place = Place::new();
    let binary = place.dir.path().join("tests");
    // The build directory may be closed to others.
    fs::copy(std::env::current_exe().unwrap(), &binary).unwrap();
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
    let work = place.dir.path().join("work");
    fs::create_dir(&work).unwrap();
    let mut life = command(&binary, "whole_life", &work.join("data"));
    let mut uid = nix::unistd::geteuid().as_raw();
    if uid == 0 {
        let nobody = User::from_name("nobody").unwrap().unwrap();
        uid = nobody.uid.as_raw();
        chown(&work, Some(uid), Some(nobody.gid.as_raw())).unwrap();
        life.uid(uid).gid(nobody.gid.as_raw()).current_dir(&work);
    }
    let done = life.output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
    assert!(said.contains(&format!("lived as {uid}")), "{said}");
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
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&server), nobody.uid.as_raw());
    postgres.stop().await.unwrap();
}
