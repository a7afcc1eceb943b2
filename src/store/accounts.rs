//! Accounts of sources that meter users and not SIMs.

use std::collections::HashMap;

use crate::domain::{Iccid, TenantId};

use super::{Statement, StatementMode, Store, StoreError, statement};

static RESOLVE: Statement = statement!("resolve_accounts", INT4, TEXT, TEXT_ARRAY);
static SAVE: Statement = statement!("save_account", TEXT, TEXT, TEXT, TEXT);
static REMOVE: Statement = statement!("remove_account", TEXT, TEXT, TEXT);
static OF_SOURCE: Statement = statement!("accounts_of_source", INT4, TEXT, INT8);
static LIST: Statement = statement!("list_accounts", TEXT, TEXT, TEXT, INT8);

/// The most characters of an account, as long as the longest text of a RADIUS attribute (RFC 2865, 5).
pub const ACCOUNT_MAX_CHARS: usize = 253;

/// What makes an account one: its tenant, and its source or, empty, every source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountKey {
    pub tenant: String,
    pub account: String,
    pub source: String,
}

/// An account in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageAccount {
    pub key: AccountKey,
    pub iccid: String,
    /// There is such a SIM.
    pub provisioned: bool,
}

impl Store {
    /// The SIMs for which accounts of a source stand: as `usage_accounts` says, else by ICCID, IMSI or MSISDN of a provisioned
    /// SIM, else the account itself where it is an ICCID. One that stands for none is left out.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn resolve_accounts(
        &self,
        tenant: TenantId,
        source: &str,
        accounts: &[&str],
    ) -> Result<HashMap<String, Iccid>, StoreError> {
        let client = self.client().await?;
        let rows = RESOLVE.rows(&client, StatementMode::FOR_MANY, &[&tenant.0, &source, &accounts]).await?;
        let pair = |row: &tokio_postgres::Row| Some((row.get("account"), Iccid::parse(row.get("iccid"))?));
        Ok(rows.iter().filter_map(pair).collect())
    }

    /// Accounts that were named for this source and not for every source, at most so many.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn accounts_of_source(
        &self,
        tenant: TenantId,
        source: &str,
        at_most: usize,
    ) -> Result<Vec<String>, StoreError> {
        let client = self.client().await?;
        let at_most = i64::try_from(at_most).unwrap_or(i64::MAX);
        let rows = OF_SOURCE.rows(&client, self.mode, &[&tenant.0, &source, &at_most]).await?;
        Ok(rows.iter().map(|row| row.get("account")).collect())
    }

    /// Says for which SIM an account stands; false without such a tenant.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn save_account(&self, key: &AccountKey, iccid: &Iccid) -> Result<bool, StoreError> {
        let client = self.client().await?;
        let AccountKey { tenant, account, source } = key;
        Ok(SAVE.execute(&client, self.mode, &[tenant, account, source, &iccid.as_str()]).await? > 0)
    }

    /// Forgets for which SIM an account stands; false when nothing was said of it.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn remove_account(&self, key: &AccountKey) -> Result<bool, StoreError> {
        let client = self.client().await?;
        Ok(REMOVE.execute(&client, self.mode, &[&key.tenant, &key.account, &key.source]).await? > 0)
    }

    /// Accounts after a key, by tenant, account and source.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn accounts(&self, after: &AccountKey, limit: i64) -> Result<Vec<UsageAccount>, StoreError> {
        let client = self.client().await?;
        let AccountKey { tenant, account, source } = after;
        let rows = LIST.rows(&client, self.mode, &[tenant, account, source, &limit]).await?;
        let listed = rows.iter().map(|row| UsageAccount {
            key: AccountKey {
                tenant: row.get("tenant"),
                account: row.get("account"),
                source: row.get("source"),
            },
            iccid: row.get("iccid"),
            provisioned: row.get("provisioned"),
        });
        Ok(listed.collect())
    }
}
