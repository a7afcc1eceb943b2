//! Which files of a directory can be taken.

use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use crate::source::file::stamp::Stamp;

/// Files of one turn; the others wait for the next one. Bounds memory in a directory of millions.
const AT_ONCE: usize = 10_000;
/// What those who are still writing put behind a name.
const UNFINISHED: [&str; 6] = [".tmp", ".part", ".partial", ".filepart", ".crdownload", "~"];

/// A file, in the order in which files are taken: by the time of their last change, then by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    modified: (i64, i64),
    pub(super) name: String,
}

/// What is in a directory.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Those that have not changed for long enough, the oldest first.
    pub(super) settled: Vec<Candidate>,
    /// All files that are to be taken, now or later.
    pub(super) waiting: usize,
    /// The last change of the oldest of them, in seconds since 1970.
    pub(super) oldest: Option<i64>,
    /// Names of files that are to be taken and that no text can hold.
    pub(super) unreadable_names: usize,
}

/// When each file was seen first as it is now.
#[derive(Debug, Default)]
pub(super) struct Sightings(HashMap<String, (Stamp, Instant)>);

impl Sightings {
    /// Looks at a directory at the time `now`.
    pub(super) async fn look(
        &mut self,
        now: Instant,
        directory: &Path,
        endings: &[String],
        settled: Duration,
    ) -> io::Result<Listing> {
        let mut listing = Listing::default();
        let mut oldest: BinaryHeap<(Candidate, Seen)> = BinaryHeap::new();
        let mut entries = tokio::fs::read_dir(directory).await?;
        while let Some(entry) = entries.next_entry().await? {
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                listing.unreadable_names += usize::from(is_wanted(&name.to_string_lossy(), endings));
                continue;
            };
            // Of the entry itself: what a link leads to may lie anywhere, and change under another name.
            let Ok(metadata) = entry.metadata().await else { continue };
            if !is_wanted(name, endings) || !metadata.is_file() {
                continue;
            }
            let stamp = Stamp::of(&metadata);
            listing.waiting += 1;
            let modified = stamp.modified();
            listing.oldest = Some(listing.oldest.map_or(modified.0, |oldest| oldest.min(modified.0)));
            oldest.push((Candidate { modified, name: name.to_owned() }, Seen(stamp)));
            if oldest.len() > AT_ONCE {
                oldest.pop();
            }
        }
        let mut seen = HashMap::with_capacity(oldest.len());
        for (candidate, Seen(stamp)) in oldest.into_sorted_vec() {
            let before = self.0.get(&candidate.name).filter(|(known, _)| *known == stamp);
            let since = before.map_or(now, |(_, since)| *since);
            seen.insert(candidate.name.clone(), (stamp, since));
            if now.duration_since(since) >= settled {
                listing.settled.push(candidate);
            }
        }
        self.0 = seen;
        Ok(listing)
    }

    /// How a file stood at the last look.
    pub(super) fn stamp(&self, name: &str) -> Option<Stamp> {
        self.0.get(name).map(|(stamp, _)| *stamp)
    }

    /// A file goes on changing: it has to settle again.
    pub(super) fn forget(&mut self, name: &str) {
        self.0.remove(name);
    }
}

/// Rides along and takes no part in the order: names are different.
#[derive(Debug)]
struct Seen(Stamp);

impl PartialEq for Seen {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Seen {}

impl PartialOrd for Seen {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Seen {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

fn is_wanted(name: &str, endings: &[String]) -> bool {
    let name = name.to_lowercase();
    !name.starts_with('.')
        && !UNFINISHED.iter().any(|ending| name.ends_with(ending))
        && endings.iter().any(|ending| name.ends_with(&ending.to_lowercase()))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::time::SystemTime;

    use super::*;

    fn names(listing: &Listing) -> Vec<&str> {
        listing.settled.iter().map(|candidate| candidate.name.as_str()).collect()
    }

    async fn look(sightings: &mut Sightings, directory: &Path, settled: u64, now: Instant) -> Listing {
        let (endings, settled) = ([".csv".into()], Duration::from_secs(settled));
        sightings.look(now, directory, &endings, settled).await.expect("it can be read")
    }

    /// Catches taking a link, a directory, a pipe, or a name under which somebody still writes; and any other order.
    #[tokio::test]
    async fn ordinary_files_of_finished_names_are_taken_the_oldest_first() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        for (name, age) in [("b.csv", 9), ("a.csv", 9), ("new.CSV", 1), ("old.csv", 20)] {
            let file = File::create(path(name)).expect("it is ours");
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 - age))
                .expect("it is ours");
        }
        for name in [".a.csv", "a.csv.tmp", "a.csv.part", "a.csv.filepart", "a.csv~", "a.txt", "csv"] {
            File::create(path(name)).expect("it is ours");
        }
        fs::create_dir(path("d.csv")).expect("it is ours");
        std::os::unix::fs::symlink(path("a.csv"), path("link.csv")).expect("it is ours");
        nix::unistd::mkfifo(&path("pipe.csv"), nix::sys::stat::Mode::S_IRWXU).expect("it is ours");
        let _socket = std::os::unix::net::UnixListener::bind(path("socket.csv")).expect("it is ours");
        let listing = look(&mut Sightings::default(), directory.path(), 0, Instant::now()).await;
        assert_eq!(names(&listing), ["old.csv", "a.csv", "b.csv", "new.CSV"]);
        assert_eq!((listing.waiting, listing.oldest), (4, Some(999_980)));
    }

    /// Catches a file that is taken while it grows, also one whose writer sets an old time as `cp -p` does.
    #[tokio::test]
    async fn a_file_is_taken_when_it_has_not_changed_for_so_long() {
        let directory = tempfile::tempdir().expect("a directory");
        let (path, began) = (directory.path().join("a.csv"), Instant::now());
        let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let write = |content: &str| {
            fs::write(&path, content).expect("it is ours");
            File::options()
                .write(true)
                .open(&path)
                .and_then(|file| file.set_modified(old))
                .expect("it is ours");
        };
        let mut sightings = Sightings::default();
        let mut taken = async |seconds| {
            let now = began + Duration::from_secs(seconds);
            look(&mut sightings, directory.path(), 5, now).await.settled.len()
        };
        write("a");
        assert_eq!(taken(0).await, 0);
        write("ab");
        assert_eq!(taken(4).await, 0);
        assert_eq!(taken(8).await, 0, "it grew");
        assert_eq!(taken(9).await, 1);
        // Another file of the name, of the same size and time.
        let other = directory.path().join("other");
        fs::write(&other, "xy").expect("it is ours");
        File::options().write(true).open(&other).and_then(|file| file.set_modified(old)).expect("it is ours");
        fs::rename(&other, &path).expect("it is ours");
        assert_eq!(taken(20).await, 0);
        assert_eq!(taken(25).await, 1);
    }
}
