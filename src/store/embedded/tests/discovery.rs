use std::ffi::OsStr;
use std::fs;
use std::process::Command;

use super::*;
use crate::store::embedded::EmbeddedError;
use crate::store::embedded::binaries::{choose, install_command, installed, of_major};
use crate::store::embedded::postmaster::PidFile;
use crate::store::embedded::server_log::reason;

/// An installation that can say its version and nothing else.
fn install(root: &Path, dir: &str, version: &str) -> PathBuf {
    let dir = root.join(dir);
    fs::create_dir_all(&dir).unwrap();
    let says = |program: &str| format!("#!/bin/sh\necho '{program} (PostgreSQL) {version}'\n");
    for (name, text) in [
        ("postgres", says("postgres")),
        ("initdb", String::new()),
        ("pg_dump", says("pg_dump")),
        ("pg_restore", String::new()),
    ] {
        // By another process: one that a test beside this starts would hold a file open that is written here, and it could not be run.
        let write = "printf %s \"$1\" > \"$0\" && chmod 755 \"$0\"";
        let done = Command::new("/bin/sh").args(["-c", write]).arg(dir.join(name)).arg(text).status();
        assert!(done.unwrap().success());
    }
    dir
}

#[test]
fn the_newest_packaged_version_wins_and_homebrew_comes_last() {
    let root = tempfile::tempdir().unwrap();
    let brewed = install(root.path(), "opt/homebrew/opt/postgresql@17/bin", "17.2");
    let on_path = install(root.path(), "on-path", "16.1");
    let path = on_path.as_os_str();
    let found = |major| choose(&installed(root.path(), Some(path)), major, Path::new("/data"));
    assert_eq!(found(None).unwrap().dir, on_path);
    let nine = install(root.path(), "usr/lib/postgresql/9/bin", "9.6.24");
    assert_eq!(found(None).unwrap().dir, nine);
    let fifteen = install(root.path(), "usr/lib/postgresql/15/bin", "15.14 (Debian 15.14-0+deb12u1)");
    assert_eq!(found(None).unwrap().dir, fifteen);
    assert_eq!(found(None).unwrap().major, 15);
    assert_eq!(found(Some(9)).unwrap().dir, nine, "a cluster needs its own version, not the newest");
    assert_eq!(found(Some(17)).unwrap().dir, brewed);
    assert!(matches!(found(Some(18)), Err(EmbeddedError::OtherMajor { data_major: 18, bin_major: 15, .. })));
}

/// Catches a newer pg_dump for an older server: what it writes is read back, and cannot be restored there.
#[test]
fn dumps_are_made_by_programs_of_the_servers_own_version() {
    let root = tempfile::tempdir().unwrap();
    let fifteen = install(root.path(), "usr/lib/postgresql/15/bin", "15.14");
    let seventeen = install(root.path(), "usr/lib/postgresql/17/bin", "17.2");
    let dirs = || vec![root.path().join("nothing"), seventeen.clone(), fifteen.clone()];
    assert_eq!(of_major(dirs(), 15), Some(fifteen.clone()));
    assert_eq!(of_major(dirs(), 17), Some(seventeen.clone()));
    assert_eq!(of_major(dirs(), 16), None);
    fs::remove_file(fifteen.join("pg_restore")).unwrap();
    assert_eq!(of_major(dirs(), 15), None, "both are needed");
}

#[test]
fn a_beta_version_and_a_broken_installation_are_understood() {
    let root = tempfile::tempdir().unwrap();
    let beta = install(root.path(), "usr/pgsql-19/bin", "19beta1");
    install(root.path(), "usr/lib/postgresql/20/bin", "nothing of use");
    let found = choose(&installed(root.path(), None), None, Path::new("/data")).unwrap();
    assert_eq!((found.dir, found.major), (beta, 19));
}

#[test]
fn without_binaries_one_line_names_the_command_that_installs_them() {
    let root = tempfile::tempdir().unwrap();
    let dirs = installed(root.path(), Some(OsStr::new("/nowhere:relative")));
    let error = choose(&dirs, None, Path::new("/data")).unwrap_err();
    assert!(error.is_unavailable());
    let line = error.to_string();
    assert_eq!(line.lines().count(), 1);
    assert!(line.contains(" install") && line.contains("DATABASE_URL"), "{line}");

    for (os_release, command) in [
        ("PRETTY_NAME=\"Debian\"\nID=debian\n", "apt-get install postgresql"),
        ("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", "apt-get install postgresql"),
        ("ID=fedora\n", "dnf install postgresql-server"),
        ("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", "dnf install postgresql-server"),
        ("ID=macos", "brew install postgresql@17"),
    ] {
        assert_eq!(install_command(os_release), command);
    }
}

#[test]
fn a_pid_file_is_read_with_care() {
    let text = "4711\n/data/postgres\n1700000000\n5432\n/data/run\n\n  123456    7\nready   \n";
    assert_eq!(PidFile::parse(text).unwrap().pid, 4711);
    assert_eq!(PidFile::parse(""), None);
    assert_eq!(PidFile::parse("-1\n/data\n"), None, "a group must never be signalled");
    assert_eq!(PidFile::parse("1\n/data\n"), None, "nor process 1");
}

#[test]
fn the_reason_is_the_gravest_line() {
    let log = "2026 [1] LOG:  starting\n2026 [1] FATAL:  data directory is bad\n2026 [1] HINT:  x\n2026 [1] LOG:  bye\n";
    assert_eq!(reason(log).unwrap(), "data directory is bad");
    assert_eq!(reason("one\ntwo\n\n").unwrap(), "two");
    assert_eq!(reason(""), None);
}
