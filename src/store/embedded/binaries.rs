//! Where PostgreSQL is installed.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::EmbeddedError;

/// Installations with the version in a directory's name: Debian and Ubuntu, then the PGDG packages of Fedora and RHEL.
const VERSIONED: [(&str, &str); 2] = [("usr/lib/postgresql", ""), ("usr", "pgsql-")];

/// Homebrew does not link versioned formulae into PATH.
const HOMEBREW: [(&str, &str); 2] = [("opt/homebrew/opt", "postgresql@"), ("usr/local/opt", "postgresql@")];

/// A directory with `postgres` and `initdb`, and their major version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binaries {
    pub(super) dir: PathBuf,
    pub(super) major: u32,
}

impl Binaries {
    pub(super) fn postgres(&self) -> PathBuf {
        self.dir.join("postgres")
    }

    pub(super) fn initdb(&self) -> PathBuf {
        self.dir.join("initdb")
    }

    fn inspect(dir: &Path) -> Option<Self> {
        if !dir.join("initdb").is_file() {
            return None;
        }
        let said = Command::new(dir.join("postgres")).arg("--version").stderr(Stdio::null()).output().ok()?;
        let major = major_of(&String::from_utf8_lossy(&said.stdout))?;
        Some(Self { dir: dir.to_owned(), major })
    }
}

/// `postgres (PostgreSQL) 17beta1 (Debian …)` → 17.
fn major_of(said: &str) -> Option<u32> {
    let version = said.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    let digits = version.find(|c: char| !c.is_ascii_digit()).unwrap_or(version.len());
    version[..digits].parse().ok()
}

/// The binaries to use: those of `bin_dir` if set, else the first installation found. A cluster can only be run by its
/// own major version, so with `data_major` an older installation wins over a newer one.
pub(super) fn find(
    bin_dir: Option<&Path>,
    data_major: Option<u32>,
    cluster: &Path,
) -> Result<Binaries, EmbeddedError> {
    let Some(dir) = bin_dir else {
        let path = std::env::var_os("PATH");
        return choose(&installed(Path::new("/"), path.as_deref()), data_major, cluster);
    };
    // Children start in another working directory.
    let dir = std::path::absolute(dir).map_err(EmbeddedError::io("find", dir))?;
    if Binaries::inspect(&dir).is_none() {
        return Err(EmbeddedError::BinDir { dir });
    }
    choose(&[dir], data_major, cluster)
}

pub(super) fn choose(
    dirs: &[PathBuf],
    data_major: Option<u32>,
    cluster: &Path,
) -> Result<Binaries, EmbeddedError> {
    let mut other = None;
    for found in dirs.iter().filter_map(|dir| Binaries::inspect(dir)) {
        match data_major {
            Some(data_major) if data_major != found.major => {
                other.get_or_insert(EmbeddedError::OtherMajor {
                    cluster: cluster.to_owned(),
                    data_major,
                    bin_dir: found.dir,
                    bin_major: found.major,
                });
            }
            _ => return Ok(found),
        }
    }
    Err(other.unwrap_or_else(|| EmbeddedError::NoBinaries { install: install_command(&os_release()) }))
}

/// Where `pg_dump` and `pg_restore` of a server's major version are. Newer ones read older servers, and write what these cannot
/// take back: settings that they do not know. Client programs are installed without the server's as well.
pub(in crate::store) fn dump_programs(bin_dir: Option<&Path>, major: u32) -> Option<PathBuf> {
    let path = std::env::var_os("PATH");
    let mut dirs: Vec<PathBuf> = bin_dir.map(Path::to_owned).into_iter().collect();
    dirs.extend(installed(Path::new("/"), path.as_deref()));
    of_major(dirs, major)
}

pub(super) fn of_major(dirs: Vec<PathBuf>, major: u32) -> Option<PathBuf> {
    dirs.into_iter().find(|dir| dumps_of(dir) == Some(major))
}

/// The major version of the `pg_dump` in a directory that has both programs.
fn dumps_of(dir: &Path) -> Option<u32> {
    let said = Command::new(dir.join("pg_dump")).arg("--version").stderr(Stdio::null()).output().ok()?;
    major_of(&String::from_utf8_lossy(&said.stdout)).filter(|_| dir.join("pg_restore").is_file())
}

/// Directories below `root` that may hold PostgreSQL, the preferred first.
pub(super) fn installed(root: &Path, path: Option<&OsStr>) -> Vec<PathBuf> {
    let newest_first = |places: [(&str, &str); 2]| {
        places
            .into_iter()
            .flat_map(|(parent, prefix)| versions(&root.join(parent), prefix))
            .collect::<Vec<_>>()
    };
    let mut dirs = newest_first(VERSIONED);
    dirs.extend(path.iter().flat_map(std::env::split_paths).filter(|dir| dir.is_absolute()));
    dirs.extend(newest_first(HOMEBREW));
    dirs
}

fn versions(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    found.sort_unstable_by_key(|(version, _)| std::cmp::Reverse(*version));
    found.into_iter().map(|(_, dir)| dir).collect()
}

fn os_release() -> String {
    if cfg!(target_os = "macos") {
        return "ID=macos".to_owned();
    }
    fs::read_to_string("/etc/os-release").unwrap_or_default()
}

/// The one command that installs PostgreSQL on the system that `os_release` describes.
pub(super) fn install_command(os_release: &str) -> &'static str {
    let families = os_release
        .lines()
        .filter_map(|line| line.strip_prefix("ID=").or_else(|| line.strip_prefix("ID_LIKE=")))
        .flat_map(|value| value.trim_matches(['"', '\'']).split_whitespace());
    for family in families {
        match family {
            "debian" | "ubuntu" => return "apt-get install postgresql",
            "fedora" | "rhel" | "centos" | "amzn" => return "dnf install postgresql-server",
            "alpine" => return "apk add postgresql",
            "arch" => return "pacman -S postgresql",
            "suse" | "opensuse" => return "zypper install postgresql-server",
            "macos" => return "brew install postgresql@17",
            _ => {}
        }
    }
    "apt-get install postgresql"
}
