//! What a backup says of itself, beside the dump.

use std::fmt;
use std::fs;
use std::path::Path;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio_postgres::Row;

use super::error::BackupError;

pub(super) const MANIFEST: &str = "manifest.json";
/// In pg_dump's custom format.
pub(super) const DUMP: &str = "database.dump";

/// The newest layout of a backup that this program reads, and the one that it writes.
const FORMAT: u32 = 1;

/// `manifest.json` of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    format: u32,
    /// Program and version.
    pub made_by: String,
    /// Everything that was acknowledged before this moment is in the backup.
    pub begun_at: DateTime<Utc>,
    pub schema_version: i32,
    /// As `server_version_num` has it: 150004 is 15.4.
    pub server_version: i32,
    /// What the names of database roles begin with, where there are any.
    pub roles: Option<String>,
    pub dump_bytes: u64,
    /// In hexadecimal digits.
    pub dump_sha256: String,
    pub figures: Figures,
}

/// Counts and sums of one snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    pub records: i64,
    /// Decimal text: the sum over all records.
    pub total_bytes: String,
    pub keys: i64,
    pub cycles: i64,
    /// Decimal text: the sum over all cycles.
    pub cycle_bytes: String,
    pub sims: i64,
    pub quarantine: i64,
}

impl Manifest {
    pub(super) fn new(begun_at: DateTime<Utc>, schema_version: i32, server_version: i32) -> Self {
        Self {
            format: FORMAT,
            made_by: concat!("simbridge ", env!("CARGO_PKG_VERSION")).to_owned(),
            begun_at,
            schema_version,
            server_version,
            roles: None,
            dump_bytes: 0,
            dump_sha256: String::new(),
            figures: Figures::default(),
        }
    }

    /// Reads the manifest of a backup, whatever database it is to go to.
    pub(super) fn read(directory: &Path) -> Result<Self, BackupError> {
        let unreadable = |cause: String| BackupError::NotABackup {
            directory: directory.to_owned(),
            file: MANIFEST,
            cause,
        };
        let text = fs::read(directory.join(MANIFEST)).map_err(|error| unreadable(error.to_string()))?;
        /// What every format has, also one that is not known here.
        #[derive(Deserialize)]
        struct Origin {
            format: u32,
            made_by: String,
        }
        let origin: Origin = serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string()))?;
        if origin.format > FORMAT {
            return Err(BackupError::Newer { made_by: origin.made_by });
        }
        serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string()))
    }
}

impl Figures {
    pub(super) fn of(row: &Row) -> Self {
        Self {
            records: row.get("records"),
            total_bytes: row.get("total_bytes"),
            keys: row.get("keys"),
            cycles: row.get("cycles"),
            cycle_bytes: row.get("cycle_bytes"),
            sims: row.get("sims"),
            quarantine: row.get("quarantine"),
        }
    }

    /// `None` when they are the same, else both.
    pub(super) fn difference(&self, found: &Self) -> Option<String> {
        (self != found).then(|| format!("{found} instead of {self}"))
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} records, {} bytes, {} keys, {} cycles with {} bytes, {} SIMs, {} in quarantine",
            self.records,
            self.total_bytes,
            self.keys,
            self.cycles,
            self.cycle_bytes,
            self.sims,
            self.quarantine
        )
    }
}
