//! The SIMs of rows that tell an account.

use std::collections::HashMap;
use std::time::Duration;

use crate::domain::{Rejection, RejectionCode, TenantId};
use crate::store::{Store, StoreError};

use super::mapped::MappedRecord;
use super::rows::{Row, sim};

/// Accounts that are looked up by one query.
const LOOK_UP_AT_ONCE: usize = 1_000;
/// The database is asked again after so long while it is away.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// SQLSTATE; to wait would not help.
const INSUFFICIENT_PRIVILEGE: &str = "42501";

/// Names the SIM of every row that tells an account. A row whose account stands for none is to be parked. Waits for the
/// database; cancel-safe.
///
/// # Errors
/// [`StoreError`] when the login may not look.
pub(super) async fn resolve(
    rows: &mut [Row],
    store: &Store,
    tenant: TenantId,
    mapping: &str,
) -> Result<(), StoreError> {
    let mut accounts: Vec<String> = rows.iter().filter_map(|row| row.account.clone()).collect();
    if accounts.is_empty() {
        return Ok(());
    }
    accounts.sort_unstable();
    accounts.dedup();
    let mut sims = HashMap::new();
    for some in accounts.chunks(LOOK_UP_AT_ONCE) {
        let some: Vec<&str> = some.iter().map(String::as_str).collect();
        // That the database is away is told by the writers.
        let found = loop {
            match store.resolve_accounts(tenant, mapping, &some).await {
                Ok(found) => break found,
                Err(error) if error.code() == Some(INSUFFICIENT_PRIVILEGE) => return Err(error),
                Err(_) => tokio::time::sleep(ASK_AGAIN).await,
            }
        };
        sims.extend(found);
    }
    for row in rows {
        let Some(account) = row.account.take() else { continue };
        match sims.get(&account) {
            Some(iccid) => {
                row.sim = sim(iccid.as_str().as_bytes());
                row.payload = MappedRecord::with_iccid(&row.payload, iccid);
            }
            None => {
                let reason = format!(
                    "the account `{account}` stands for no SIM; say which with `simbridge accounts set`"
                );
                row.refused = Some(Rejection::new(RejectionCode::UnknownAccount, "account", reason));
            }
        }
    }
    Ok(())
}
