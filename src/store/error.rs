use deadpool_postgres::{HookError, PoolError};
use thiserror::Error;
use tokio_postgres::error::SqlState;

use crate::traces::Span;

/// What went wrong with the database.
#[derive(Debug, Error)]
pub enum StoreError {
    #[error("no connection to the database: {}", describe_pool(.0))]
    Pool(#[from] PoolError),
    #[error("{}", describe(.0))]
    Postgres(#[from] tokio_postgres::Error),
    #[error("the database did not answer within {0} s")]
    Timeout(u64),
    /// The transaction may have been committed: the reply to COMMIT did not arrive.
    #[error("COMMIT was not confirmed: {}", describe(.0))]
    CommitUnconfirmed(tokio_postgres::Error),
    #[error("cycles of SIMs could not be made in {0} attempts")]
    CyclesMissing(u32),
    #[error("totals of {expected} cycles were to be changed, and {actual} were: cycles were deleted by hand")]
    TotalsIncomplete { expected: usize, actual: u64 },
    #[error("{0}")]
    Config(String),
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// The same again: an outage, a deadlock, a server that shuts down, a full disk.
    Retry,
    /// One of the rows cannot be stored, ever: find and park it.
    Isolate,
}

impl StoreError {
    /// Unknown failures are retried: waiting loses nothing, parking good records would.
    pub fn remedy(&self) -> Remedy {
        match self.sql_state() {
            _ if self.lacks_partition() => Remedy::Retry,
            Some(state) if state.code().starts_with("22") || state.code().starts_with("23") => {
                Remedy::Isolate
            }
            _ => Remedy::Retry,
        }
    }

    /// The work may have been done all the same.
    pub fn is_ambiguous(&self) -> bool {
        matches!(self, Self::CommitUnconfirmed(_) | Self::Timeout(_))
    }

    /// The statement itself was not looked at: an earlier one of its transaction had failed (25P02).
    pub(super) fn is_consequence(&self) -> bool {
        self.sql_state() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION)
    }

    /// Two transactions were in each other's way; nothing is wrong with the database.
    pub fn is_contention(&self) -> bool {
        matches!(self.code(), Some("40001" | "40P01"))
    }

    /// A lock was not granted in time (55P03).
    pub(super) fn lock_not_available(&self) -> bool {
        self.sql_state() == Some(&SqlState::LOCK_NOT_AVAILABLE)
    }

    /// Two transactions waited for each other, and this one was ended (40P01).
    pub(super) fn deadlocked(&self) -> bool {
        self.sql_state() == Some(&SqlState::T_R_DEADLOCK_DETECTED)
    }

    /// A record fell into a month that has no partition: 23514 that names the table and no constraint. The message is in
    /// the server's language; a trigger that raises 23514 names neither.
    pub(crate) fn lacks_partition(&self) -> bool {
        let Self::Postgres(error) = self else { return false };
        error.as_db_error().is_some_and(|db| {
            db.code() == &SqlState::CHECK_VIOLATION
                && db.constraint().is_none()
                && db.table() == Some("usage_records")
        })
    }

    /// A key that was to be new is taken (23505 of `record_keys`).
    pub(super) fn key_taken(&self) -> bool {
        let Self::Postgres(error) = self else { return false };
        error.as_db_error().is_some_and(|db| {
            db.code() == &SqlState::UNIQUE_VIOLATION && db.constraint() == Some("record_keys_pk")
        })
    }

    /// The server cannot do what was asked, ever (0A000).
    pub(super) fn not_supported(&self) -> bool {
        self.sql_state() == Some(&SqlState::FEATURE_NOT_SUPPORTED)
    }

    /// What the server said when something is busy that cannot be waited for (55006).
    pub(super) fn object_in_use(&self) -> Option<String> {
        let Self::Postgres(error) = self else { return None };
        let refused = error.as_db_error().filter(|db| db.code() == &SqlState::OBJECT_IN_USE);
        refused.map(|db| db.message().to_owned())
    }

    /// What a function of ours said when it refused: the state of the database does not allow it (55000), somebody is at it (55006), or
    /// it makes no sense (22023).
    pub(super) fn refusal(&self) -> Option<String> {
        let Self::Postgres(error) = self else { return None };
        let refused =
            error.as_db_error().filter(|db| matches!(db.code().code(), "55000" | "55006" | "22023"));
        refused.map(|db| db.message().to_owned())
    }

    /// Notes the failure of what the span is of: a code or a word, because messages of PostgreSQL quote what they refuse.
    pub(crate) fn tell(&self, span: &Span) {
        if !span.is_recorded() {
            return;
        }
        if let Some(code) = self.code() {
            span.note("db.response.status_code", code.to_owned());
        }
        let word = match self {
            Self::Pool(_) => "no_connection",
            Self::Postgres(_) => "connection_lost",
            Self::Timeout(_) => "timeout",
            Self::CommitUnconfirmed(_) => "commit_unconfirmed",
            Self::CyclesMissing(_) => "cycles_missing",
            Self::TotalsIncomplete { .. } => "totals_incomplete",
            Self::Config(_) => "configuration",
        };
        span.fail(self.code().unwrap_or(word).to_owned());
    }

    /// The five characters of PostgreSQL's error code, when the server sent one.
    pub fn code(&self) -> Option<&str> {
        self.sql_state().map(SqlState::code)
    }

    fn sql_state(&self) -> Option<&SqlState> {
        match self {
            Self::Postgres(error) | Self::CommitUnconfirmed(error) => error.code(),
            Self::Pool(PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error))) => {
                error.code()
            }
            _ => None,
        }
    }
}

/// One line: the server's message and code, or the cause below tokio-postgres's "error communicating with the server".
fn describe(error: &tokio_postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        return format!("{} (SQLSTATE {})", db.message(), db.code().code());
    }
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

fn describe_pool(error: &PoolError) -> String {
    match error {
        PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => describe(error),
        other => other.to_string(),
    }
}
