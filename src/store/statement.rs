//! SQL statements by name, run prepared or, behind a pooler that hands out another connection for each transaction, not.

use deadpool_postgres::{Object, Transaction};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use crate::traces::{self, Kind, Span};

use super::StoreError;
use super::binary_copy::Copy;
use super::connections::Lease;

/// A statement of `store/sql/` and the types of its parameters.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) name: &'static str,
    pub(super) sql: &'static str,
    pub(super) types: &'static [Type],
}

/// `statement!("name", TYPE, …)`: the file `sql/name.sql` with its parameter types.
macro_rules! statement {
    ($name:literal $(, $kind:ident)* $(,)?) => {
        $crate::store::statement::Statement {
            name: $name,
            sql: include_str!(concat!("sql/", $name, ".sql")),
            types: &[$(tokio_postgres::types::Type::$kind),*],
        }
    };
}
pub(super) use statement;

/// Whether statements are prepared and kept by the connection, or sent whole each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StatementMode {
    Prepared,
    Unnamed,
}

impl StatementMode {
    /// For statements that look for many keys in a table that grows: a plan that the connection keeps from when the table was small
    /// reads all of it each time, until it is analyzed. Planning anew costs about a millisecond.
    pub(super) const FOR_MANY: Self = Self::Unnamed;
}

type Params<'p> = &'p [&'p (dyn ToSql + Sync)];

/// What a statement can run on.
#[derive(Clone, Copy)]
pub(super) enum Session<'c> {
    /// With the lease, if it was taken for statements that stand alone.
    Connection(&'c Object, Option<&'c Lease>),
    Transaction(&'c Transaction<'c>),
}

impl<'c> From<&'c Object> for Session<'c> {
    fn from(connection: &'c Object) -> Self {
        Self::Connection(connection, None)
    }
}

impl<'c> From<&'c Lease> for Session<'c> {
    fn from(lease: &'c Lease) -> Self {
        Self::Connection(lease, Some(lease))
    }
}

impl<'c> From<&'c Transaction<'_>> for Session<'c> {
    fn from(transaction: &'c Transaction<'_>) -> Self {
        Self::Transaction(transaction)
    }
}

impl Session<'_> {
    /// Waits for the answer as long as the session allows.
    async fn answer<T>(self, answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        match self {
            Self::Connection(_, Some(lease)) => lease.answer(answer).await,
            Self::Connection(_, None) | Self::Transaction(_) => answer.await,
        }
    }
}

impl Statement {
    pub(super) async fn rows(
        &self,
        session: impl Into<Session<'_>>,
        mode: StatementMode,
        params: Params<'_>,
    ) -> Result<Vec<Row>, StoreError> {
        let session = session.into();
        let span = self.span();
        // In a box, because many callers hold several of them.
        let rows = session.answer(Box::pin(self.query(session, mode, params))).await;
        if let Ok(rows) = &rows {
            span.note("db.response.returned_rows", rows.len());
        }
        tell(&span, &rows);
        rows
    }

    async fn query(
        &self,
        session: Session<'_>,
        mode: StatementMode,
        params: Params<'_>,
    ) -> Result<Vec<Row>, StoreError> {
        use StatementMode::{Prepared, Unnamed};
        Ok(match (session, mode) {
            (Session::Connection(on, _), Prepared) => {
                on.query(&on.prepare_typed_cached(self.sql, self.types).await?, params).await?
            }
            (Session::Transaction(on), Prepared) => {
                on.query(&on.prepare_typed_cached(self.sql, self.types).await?, params).await?
            }
            (Session::Connection(on, _), Unnamed) => on.query_typed(self.sql, &self.typed(params)).await?,
            (Session::Transaction(on), Unnamed) => on.query_typed(self.sql, &self.typed(params)).await?,
        })
    }

    /// Returns the number of rows changed.
    pub(super) async fn execute(
        &self,
        session: impl Into<Session<'_>>,
        mode: StatementMode,
        params: Params<'_>,
    ) -> Result<u64, StoreError> {
        let session = session.into();
        let span = self.span();
        let changed = session.answer(Box::pin(self.change(session, mode, params))).await;
        if let Ok(changed) = &changed {
            span.note("simbridge.rows.changed", *changed);
        }
        tell(&span, &changed);
        changed
    }

    async fn change(
        &self,
        session: Session<'_>,
        mode: StatementMode,
        params: Params<'_>,
    ) -> Result<u64, StoreError> {
        use StatementMode::{Prepared, Unnamed};
        Ok(match (session, mode) {
            (Session::Connection(on, _), Prepared) => {
                on.execute(&on.prepare_typed_cached(self.sql, self.types).await?, params).await?
            }
            (Session::Transaction(on), Prepared) => {
                on.execute(&on.prepare_typed_cached(self.sql, self.types).await?, params).await?
            }
            (Session::Connection(on, _), Unnamed) => on.execute_typed(self.sql, &self.typed(params)).await?,
            (Session::Transaction(on), Unnamed) => on.execute_typed(self.sql, &self.typed(params)).await?,
        })
    }

    /// Begins a COPY in binary form; `types` are those of its columns. Prepared, so not for [`StatementMode::Unnamed`].
    pub(super) async fn copy(&self, tx: &Transaction<'_>) -> Result<Copy, StoreError> {
        let span = self.span();
        let begun = async { Ok(tx.copy_in(&tx.prepare_typed_cached(self.sql, &[]).await?).await?) }.await;
        tell(&span, &begun);
        Ok(Copy::begin(begun?, self.types, span))
    }

    /// Its name says what is asked. The text is in the sources; parameters are nobody's business.
    fn span(&self) -> Span {
        let span = traces::step(self.name, Kind::Client);
        span.note("db.system.name", "postgresql");
        span.note("db.query.summary", self.name);
        span
    }

    fn typed<'p>(&self, params: Params<'p>) -> Vec<(&'p (dyn ToSql + Sync), Type)> {
        debug_assert_eq!(params.len(), self.types.len(), "{}", self.sql);
        params.iter().copied().zip(self.types.iter().cloned()).collect()
    }
}

/// Notes how it ended: of a failure the code alone, because messages of PostgreSQL quote what they refuse.
pub(super) fn tell<T>(span: &Span, result: &Result<T, StoreError>) {
    if let Err(error) = result {
        error.tell(span);
    }
}
