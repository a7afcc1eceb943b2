use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A directory into which another system puts files of usage.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct FilesSourceConfig {
    /// In metrics and logs.
    pub name: String,
    pub directory: PathBuf,
    /// Name of the `[[mapping]]` by which files are read; empty for simbridge's own columns and records.
    pub mapping: String,
    /// Of the names of files that are taken; empty for those of the format.
    pub endings: Vec<String>,
    /// In whose name records arrive.
    pub tenant: String,
    /// Accept signed corrections.
    pub may_correct: bool,
    pub interval_seconds: u64,
    /// How long a file must not have changed before it is taken.
    pub settled_seconds: u64,
    /// Of one file, unpacked.
    pub file_max_bytes: u64,
}

impl Default for FilesSourceConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            directory: PathBuf::new(),
            mapping: String::new(),
            endings: Vec::new(),
            tenant: "default".into(),
            may_correct: false,
            interval_seconds: 5,
            settled_seconds: 10,
            file_max_bytes: 4 << 30,
        }
    }
}

impl FilesSourceConfig {
    pub(super) fn fault(&self) -> Option<(&'static str, String)> {
        if self.directory.as_os_str().is_empty() {
            return Some(("directory", "must name a directory".into()));
        }
        if let Some(ending) = self.endings.iter().find(|ending| !ending.starts_with('.') || ending.len() < 2)
        {
            return Some(("endings", format!("`{ending}` must begin with a dot, such as .csv")));
        }
        let bounds = [
            ("interval_seconds", self.interval_seconds, 1, 86_400),
            ("settled_seconds", self.settled_seconds, 0, 86_400),
            ("file_max_bytes", self.file_max_bytes, 1_024, 1 << 44),
        ];
        let broken = bounds.into_iter().find(|(_, value, least, most)| !(least..=most).contains(&value));
        broken.map(|(key, _, least, most)| (key, format!("must be from {least} to {most}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cdr() -> FilesSourceConfig {
        FilesSourceConfig { directory: "/var/spool/cdr".into(), ..Default::default() }
    }

    #[test]
    fn a_directory_suffices() {
        assert_eq!(cdr().fault(), None);
    }

    #[test]
    fn what_cannot_work_is_named_with_what_would() {
        let key = |source: FilesSourceConfig| source.fault().map(|(key, _)| key);
        assert_eq!(key(FilesSourceConfig::default()), Some("directory"));
        for ending in ["csv", ".", ""] {
            assert_eq!(key(FilesSourceConfig { endings: vec![ending.into()], ..cdr() }), Some("endings"));
        }
        assert_eq!(key(FilesSourceConfig { interval_seconds: 0, ..cdr() }), Some("interval_seconds"));
        assert_eq!(key(FilesSourceConfig { settled_seconds: 90_000, ..cdr() }), Some("settled_seconds"));
        let (key, problem) = FilesSourceConfig { file_max_bytes: 1, ..cdr() }.fault().expect("a fault");
        assert_eq!((key, problem.as_str()), ("file_max_bytes", "must be from 1024 to 17592186044416"));
    }
}
