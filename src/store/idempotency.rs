//! Keys of requests that may be sent again.

use chrono::{DateTime, Utc};

use crate::domain::TenantId;

use super::{Statement, Store, StoreError, statement};

static CLAIM: Statement =
    statement!("claim_idempotency_key", INT4, TEXT, TEXT, BYTEA, TIMESTAMPTZ, TIMESTAMPTZ);

/// SHA-256 of what a key stands for.
pub type RequestHash = [u8; 32];

/// A key and who sent it.
#[derive(Clone, Copy, Debug)]
pub struct SentKey<'k> {
    pub tenant: TenantId,
    /// Name of the API key.
    pub sender: &'k str,
    pub key: &'k str,
}

impl Store {
    /// Lets a key stand for a request. False when it has stood for another one since `remembered_since`.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn claim_idempotency_key(
        &self,
        sent: SentKey<'_>,
        request: &RequestHash,
        now: DateTime<Utc>,
        remembered_since: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let request = &request[..];
        self.in_time(async |client| {
            let rows = CLAIM
                .rows(
                    &*client,
                    self.mode,
                    &[&sent.tenant.0, &sent.sender, &sent.key, &request, &now, &remembered_since],
                )
                .await?;
            Ok(rows[0].get::<_, &[u8]>("request") == request)
        })
        .await
    }
}
