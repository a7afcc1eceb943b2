//! What must be true after every fault: each acknowledged record is stored exactly once, nothing is stored that was not
//! sent, and all totals add up.

use simulator::ledger::LedgerSummary;
use tokio_postgres::Client;

use crate::harness::bridge::BridgeProcess;
use crate::harness::eventually;
use crate::harness::fleet::assert_nothing_lost_or_invented;
use simbridge::store::Store;

/// I1 to I10, with every marker rolled up. Rollups are waited for: they are late for seconds, never for ever.
pub(crate) async fn assert_proven(ledger: &LedgerSummary, store: &Store, client: &Client) {
    assert!(!ledger.acked.is_empty(), "nothing was acknowledged, so nothing was proven");
    assert_nothing_lost_or_invented(ledger, client).await;
    // The fleet sends nothing that is wrong, so no fault is a reason to put a record aside.
    let parked = client.query_one("SELECT count(*) FROM quarantine", &[]).await.expect("it can be read");
    assert_eq!(parked.get::<_, i64>(0), 0, "good records were parked");
    eventually("rollups of everything", async || {
        let backlog = store.rollup_backlog().await.ok()?;
        (backlog.markers == 0).then_some(())
    })
    .await;
    let reconciliation = store.reconcile().await.expect("reconcile runs");
    assert!(reconciliation.is_clean(), "{reconciliation:#?}");
    assert!(reconciliation.records as usize >= ledger.acked.len(), "stored once each");
    assert!(reconciliation.records as usize <= ledger.sent.len(), "stored once each");
}

/// received = stored + duplicate + parked + in flight, and nothing is in flight any more.
pub(crate) async fn assert_balanced(bridge: &BridgeProcess) {
    let mut sum = 0.0;
    for result in ["stored", "duplicate", "parked"] {
        sum += bridge.metric(&format!("simbridge_records_{result}_total")).await;
    }
    assert_eq!(bridge.metric("simbridge_records_received_total").await, sum, "the balance holds");
    assert_eq!(bridge.metric("simbridge_records_in_flight").await, 0.0);
}
