//! Poolers between the program and PostgreSQL.

use std::time::Duration;

use tokio_postgres::error::SqlState;

use super::statement::{Statement, StatementMode, statement};
use super::{PING, Store, StoreError};

static WHOSE: Statement = statement!("whose_statement");

/// A pooler with a single server connection lets the second one wait for the first.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

impl Store {
    /// False behind a pooler that hands out another server connection for each transaction and knows nothing of named statements:
    /// they are not there then, or, worse, are those of somebody else, such as another instance that starts just now. A pooler that
    /// is busy may go unnoticed; nothing else is ever taken for one.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn keeps_prepared_statements(&self) -> Result<bool, StoreError> {
        let (mut other, asking) = (self.pool.get().await?, self.pool.get().await?);
        let number: i64 = rand::random();
        let statement = match asking.prepare(&WHOSE.sql.replace("'0'", &format!("'{number}'"))).await {
            Ok(statement) => statement,
            // Of this name, which is the first one of every program, somebody else has one on the same server connection.
            Err(error) if error.code() == Some(&SqlState::DUPLICATE_PSTATEMENT) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        // A pooler gives the server connection that was used last, on which the statement is, to this transaction.
        let transaction = other.transaction().await?;
        PING.rows(&transaction, StatementMode::Unnamed, &[]).await?;
        let answer = tokio::time::timeout(ANSWER_WITHIN, asking.query(&statement, &[])).await;
        transaction.rollback().await?;
        match answer {
            Ok(Err(error)) if error.code() == Some(&SqlState::INVALID_SQL_STATEMENT_NAME) => Ok(false),
            Ok(Err(error)) => Err(error.into()),
            // What somebody else's gives may be of another type.
            Ok(Ok(rows)) => Ok(rows.first().and_then(|row| row.try_get("number").ok()) == Some(number)),
            Err(_) => Ok(true),
        }
    }
}
