//! How far files of usage history were imported.

use chrono::{DateTime, Utc};
use tokio_postgres::Row;

use crate::domain::TenantId;

use super::{Statement, Store, StoreError, statement};

static OPEN: Statement = statement!("open_file_import", INT4, TEXT, INT8, BYTEA);
static NEWEST: Statement = statement!("newest_file_import", INT4, TEXT);
static RESTART: Statement = statement!("restart_file_import", INT8);
static SAVE: Statement = statement!("save_file_import", INT8, INT8, INT8, INT8, INT8, INT8, BOOL);

/// What tells one file from another, whatever it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileIdentity {
    pub name: String,
    pub size: u64,
    pub digest: [u8; 32],
}

/// How far a file is committed: every row before this place is stored or parked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    pub bytes: u64,
    pub lines: u64,
    pub stored: u64,
    pub duplicate: u64,
    pub parked: u64,
}

/// A file that is known to the database.
#[derive(Clone, Copy, Debug)]
pub struct FileImport {
    pub id: i64,
    pub committed: Committed,
    pub finished_at: Option<DateTime<Utc>>,
}

impl Store {
    /// Enters a file, or finds what an earlier import of it noted.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn open_file_import(
        &self,
        tenant: TenantId,
        file: &FileIdentity,
    ) -> Result<FileImport, StoreError> {
        let client = self.client().await?;
        let (size, digest) = (file.size.cast_signed(), &file.digest[..]);
        let rows = OPEN.rows(&client, self.mode, &[&tenant.0, &file.name, &size, &digest]).await?;
        Ok(FileImport::from_row(&rows[0]))
    }

    /// The file that was entered last among those whose names begin with `beginning`, with its name.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn newest_file_import(
        &self,
        tenant: TenantId,
        beginning: &str,
    ) -> Result<Option<(String, FileImport)>, StoreError> {
        let client = self.client().await?;
        let rows = NEWEST.rows(&client, self.mode, &[&tenant.0, &beginning]).await?;
        Ok(rows.first().map(|row| (row.get("name"), FileImport::from_row(row))))
    }

    /// Lets the next import of the file begin at its start.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn restart_file_import(&self, id: i64) -> Result<(), StoreError> {
        let client = self.client().await?;
        RESTART.execute(&client, self.mode, &[&id]).await?;
        Ok(())
    }

    /// Notes how far the file is committed; `finished` when that is all of it.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached; what was noted before stands.
    pub async fn save_file_import(
        &self,
        id: i64,
        committed: &Committed,
        finished: bool,
    ) -> Result<(), StoreError> {
        let Committed { bytes, lines, stored, duplicate, parked } = *committed;
        let [bytes, lines, stored, duplicate, parked] =
            [bytes, lines, stored, duplicate, parked].map(u64::cast_signed);
        let client = self.client().await?;
        SAVE.execute(&client, self.mode, &[&id, &bytes, &lines, &stored, &duplicate, &parked, &finished])
            .await?;
        Ok(())
    }
}

impl FileImport {
    fn from_row(row: &Row) -> Self {
        let count = |column| row.get::<_, i64>(column).cast_unsigned();
        Self {
            id: row.get("id"),
            committed: Committed {
                bytes: count("committed_bytes"),
                lines: count("committed_lines"),
                stored: count("stored"),
                duplicate: count("duplicate"),
                parked: count("parked"),
            },
            finished_at: row.get("finished_at"),
        }
    }
}
