//! Files that are done with leave the directory.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use tokio::fs::{self, OpenOptions};
use tokio::io::AsyncWriteExt;

use crate::source::file::stamp::Stamp;

/// Files of one name in `done` or `failed`.
const SAME_NAMES_MAX: u32 = 100_000;

/// Moves the file `name` into a directory beside it, under a name that is free there. `None` when the file is not there any
/// more, or is another one by now. A `reason` is written beside it first.
///
/// # Errors
/// The file stays where it is.
pub(super) async fn put_away(
    directory: &Path,
    name: &str,
    stamp: Stamp,
    into: &str,
    reason: Option<&str>,
) -> io::Result<Option<PathBuf>> {
    let from = directory.join(name);
    if !is_still(&from, stamp).await? {
        return Ok(None);
    }
    let into = directory.join(into);
    match fs::create_dir(&into).await {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // Whoever puts files here may be trusted less than this program: a link would lead it to write elsewhere.
    if !fs::symlink_metadata(&into).await?.is_dir() {
        return Err(Errno::ENOTDIR.into());
    }
    let target = free_name(&into, name).await?;
    if let Some(reason) = reason {
        tell(&target, reason).await?;
    }
    // Nobody else writes there but an instance that lost its lease without knowing, and that has the same file.
    match fs::rename(&from, &target).await {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        moved => moved?,
    }
    if is_still(&target, stamp).await? {
        return Ok(Some(target));
    }
    // Between the look above and the move, another file took its name. It is to be read in its turn.
    fs::rename(&target, &from).await?;
    Ok(None)
}

/// Writes why a file cannot be used beside the place to which it is moved.
async fn tell(target: &Path, reason: &str) -> io::Result<()> {
    let mut path = target.to_owned().into_os_string();
    path.push(".reason.txt");
    // Left by a kill before the move, or a link.
    match fs::remove_file(&path).await {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).open(&path).await?;
    file.write_all(reason.as_bytes()).await?;
    file.flush().await
}

async fn is_still(path: &Path, stamp: Stamp) -> io::Result<bool> {
    match fs::symlink_metadata(path).await {
        Ok(metadata) => Ok(metadata.is_file() && Stamp::of(&metadata) == stamp),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// `NAME`, or with the first number behind it that nobody has.
async fn free_name(directory: &Path, name: &str) -> io::Result<PathBuf> {
    for number in 0..SAME_NAMES_MAX {
        let path = match number {
            0 => directory.join(name),
            number => directory.join(format!("{name}.{number}")),
        };
        match fs::symlink_metadata(&path).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(path),
            Err(error) => return Err(error),
            Ok(_) => {}
        }
    }
    Err(io::Error::other(format!("there are {SAME_NAMES_MAX} files of its name already")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(path: &Path) -> Stamp {
        Stamp::of(&std::fs::symlink_metadata(path).expect("it is there"))
    }

    /// Catches a move that overwrites what was moved there before, and one that takes away a file which nobody has read.
    #[tokio::test]
    async fn a_file_is_moved_under_a_free_name_and_only_if_it_is_the_same() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.csv");
        for (number, moved) in ["a.csv", "a.csv.1", "a.csv.2"].into_iter().enumerate() {
            std::fs::write(&path, number.to_string()).expect("it is ours");
            let away = put_away(directory.path(), "a.csv", stamp(&path), "done", None).await;
            let target = directory.path().join("done").join(moved);
            assert_eq!(away.expect("it can be moved"), Some(target.clone()));
            assert_eq!(std::fs::read_to_string(target).expect("it is there"), number.to_string());
        }
        std::fs::write(&path, "read").expect("it is ours");
        let read = stamp(&path);
        std::fs::remove_file(&path).expect("it is ours");
        let away = put_away(directory.path(), "a.csv", read, "done", None).await;
        assert_eq!(away.expect("nothing to do"), None);
        std::fs::write(&path, "another one").expect("it is ours");
        let away = put_away(directory.path(), "a.csv", read, "failed", Some("why")).await;
        assert_eq!(away.expect("nothing to do"), None);
        assert!(path.exists() && !directory.path().join("failed").exists());
        let away = put_away(directory.path(), "a.csv", stamp(&path), "failed", Some("why")).await;
        assert_eq!(away.expect("it can be moved"), Some(directory.path().join("failed/a.csv")));
        let told = std::fs::read_to_string(directory.path().join("failed/a.csv.reason.txt"));
        assert_eq!(told.expect("it is there"), "why");
    }

    #[tokio::test]
    async fn what_cannot_be_moved_stays() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.csv");
        std::fs::write(&path, "a").expect("it is ours");
        std::fs::write(directory.path().join("done"), "a file").expect("it is ours");
        let away = put_away(directory.path(), "a.csv", stamp(&path), "done", None).await;
        assert_eq!(away.expect_err("done is no directory").kind(), ErrorKind::NotADirectory);
        assert!(path.exists());
    }
    /// Catches a program that those who put files there lead to write elsewhere.
    #[tokio::test]
    async fn links_are_not_followed() {
        let directory = tempfile::tempdir().expect("a directory");
        let (path, elsewhere) = (directory.path().join("a.csv"), directory.path().join("elsewhere"));
        std::fs::write(&path, "a").expect("it is ours");
        std::fs::write(&elsewhere, "as it was").expect("it is ours");
        std::fs::create_dir(directory.path().join("failed")).expect("it is ours");
        let told = directory.path().join("failed/a.csv.reason.txt");
        std::os::unix::fs::symlink(&elsewhere, &told).expect("it is ours");
        let away = put_away(directory.path(), "a.csv", stamp(&path), "failed", Some("why")).await;
        assert_eq!(away.expect("it can be moved"), Some(directory.path().join("failed/a.csv")));
        assert_eq!(std::fs::read_to_string(&elsewhere).expect("it is there"), "as it was");
        assert_eq!(std::fs::read_to_string(&told).expect("it is there"), "why");
        std::fs::write(&path, "b").expect("it is ours");
        std::os::unix::fs::symlink(directory.path().join("failed"), directory.path().join("done"))
            .expect("it is ours");
        let away = put_away(directory.path(), "a.csv", stamp(&path), "done", None).await;
        assert_eq!(away.expect_err("done is a link").kind(), ErrorKind::NotADirectory);
        assert!(path.exists());
    }
}
