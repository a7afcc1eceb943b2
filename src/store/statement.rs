//! SQL statements by name, run prepared or, behind a pooler that hands out another connection for each transaction, not.

use deadpool_postgres::{Object, Transaction};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::StoreError;

/// A statement of `store/sql/` and the types of its parameters.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) sql: &'static str,
    pub(super) types: &'static [Type],
}

/// `statement!("name", TYPE, …)`: the file `sql/name.sql` with its parameter types.
macro_rules! statement {
    ($name:literal $(, $kind:ident)* $(,)?) => {
        $crate::store::statement::Statement {
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
    Connection(&'c Object),
    Transaction(&'c Transaction<'c>),
}

impl<'c> From<&'c Object> for Session<'c> {
    fn from(connection: &'c Object) -> Self {
        Self::Connection(connection)
    }
}

impl<'c> From<&'c Transaction<'_>> for Session<'c> {
    fn from(transaction: &'c Transaction<'_>) -> Self {
        Self::Transaction(transaction)
    }
}

impl Statement {
    pub(super) async fn rows(
        &self,
        session: impl Into<Session<'_>>,
        mode: StatementMode,
        params: Params<'_>,
    ) -> Result<Vec<Row>, StoreError> {
        use StatementMode::{Prepared, Unnamed};
        Ok(match (session.into(), mode) {
            (Session::Connection(on), Prepared) => {
                on.query(&on.prepare_typed_cached(self.sql, self.types).await?, params).await?
            }
            (Session::Transaction(on), Prepared) => {
                on.query(&on.prepare_typed_cached(self.sql, self.types).await?, params).await?
            }
            (Session::Connection(on), Unnamed) => on.query_typed(self.sql, &self.typed(params)).await?,
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
        use StatementMode::{Prepared, Unnamed};
        Ok(match (session.into(), mode) {
            (Session::Connection(on), Prepared) => {
                on.execute(&on.prepare_typed_cached(self.sql, self.types).await?, params).await?
            }
            (Session::Transaction(on), Prepared) => {
                on.execute(&on.prepare_typed_cached(self.sql, self.types).await?, params).await?
            }
            (Session::Connection(on), Unnamed) => on.execute_typed(self.sql, &self.typed(params)).await?,
            (Session::Transaction(on), Unnamed) => on.execute_typed(self.sql, &self.typed(params)).await?,
        })
    }

    fn typed<'p>(&self, params: Params<'p>) -> Vec<(&'p (dyn ToSql + Sync), Type)> {
        debug_assert_eq!(params.len(), self.types.len(), "{}", self.sql);
        params.iter().copied().zip(self.types.iter().cloned()).collect()
    }
}
