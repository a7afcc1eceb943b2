//! Retained messages of the embedded broker.

use chrono::{DateTime, Utc};
use serde_json::Value;
use tokio_postgres::types::ToSql;

use crate::domain::TenantId;

use super::{Statement, Store, StoreError, statement};

static LOAD: Statement = statement!("load_retained", INT4, TEXT, TIMESTAMPTZ, INT8);
static SAVE: Statement = statement!(
    "save_retained",
    INT4_ARRAY,
    TEXT_ARRAY,
    BYTEA_ARRAY,
    INT2_ARRAY,
    JSONB_ARRAY,
    TIMESTAMPTZ_ARRAY
);
static FORGET: Statement = statement!("forget_retained", INT4_ARRAY, TEXT_ARRAY);

/// A retained message.
#[derive(Clone, Debug, PartialEq)]
pub struct RetainedRow {
    pub tenant: TenantId,
    pub topic: String,
    pub payload: Vec<u8>,
    /// 0, 1 or 2.
    pub qos: i16,
    pub properties: Option<Value>,
    pub expires_at: Option<DateTime<Utc>>,
}

impl Store {
    /// At most `limit` messages, by tenant and topic, after `after`; without those that have expired at `now`.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn load_retained(
        &self,
        after: (TenantId, &str),
        now: DateTime<Utc>,
        limit: i64,
    ) -> Result<Vec<RetainedRow>, StoreError> {
        let client = self.client().await?;
        let rows = LOAD.rows(&client, self.mode, &[&after.0.0, &after.1, &now, &limit]).await?;
        Ok(rows
            .iter()
            .map(|row| RetainedRow {
                tenant: TenantId(row.get("tenant_id")),
                topic: row.get("topic"),
                payload: row.get("payload"),
                qos: row.get("qos"),
                properties: row.get("properties"),
                expires_at: row.get("expires_at"),
            })
            .collect())
    }

    /// Keeps some messages and forgets others, in one transaction. No topic stands in both.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed then.
    pub async fn save_retained(
        &self,
        kept: &[RetainedRow],
        forgotten: &[(TenantId, String)],
    ) -> Result<(), StoreError> {
        self.in_time(async |client| {
            let tx = client.transaction().await?;
            if !kept.is_empty() {
                let tenants: Vec<i32> = kept.iter().map(|row| row.tenant.0).collect();
                let topics: Vec<&str> = kept.iter().map(|row| &*row.topic).collect();
                let payloads: Vec<&[u8]> = kept.iter().map(|row| &*row.payload).collect();
                let qos: Vec<i16> = kept.iter().map(|row| row.qos).collect();
                let properties: Vec<Option<&Value>> =
                    kept.iter().map(|row| row.properties.as_ref()).collect();
                let expiries: Vec<Option<DateTime<Utc>>> = kept.iter().map(|row| row.expires_at).collect();
                let params: [&(dyn ToSql + Sync); 6] =
                    [&tenants, &topics, &payloads, &qos, &properties, &expiries];
                SAVE.execute(&tx, self.mode, &params).await?;
            }
            if !forgotten.is_empty() {
                let tenants: Vec<i32> = forgotten.iter().map(|(tenant, _)| tenant.0).collect();
                let topics: Vec<&str> = forgotten.iter().map(|(_, topic)| &**topic).collect();
                FORGET.execute(&tx, self.mode, &[&tenants, &topics]).await?;
            }
            tx.commit().await?;
            Ok(())
        })
        .await
    }
}
