//! From a payload to rows and totals, without a broker.

use simbridge::ingest::queue::RecordStatus;

use crate::harness::database::{TestDatabase, sim};
use crate::harness::pipeline::{TestPipeline, record};

const ICCID: &str = "8941000000000000001";

#[tokio::test]
async fn a_record_is_stored_with_its_total_when_its_receipt_comes() {
    let database = TestDatabase::new().await;
    database.import(&[sim(ICCID)]).await;
    let pipeline = TestPipeline::start(&database.store);
    let status = pipeline.one(ICCID, record("r-1", 0, 100, 23)).await;
    assert!(matches!(status, RecordStatus::Stored { .. }), "{status:?}");
    let row = "SELECT total_bytes || '/' || status || '/' || (sim_id IS NOT NULL) FROM usage_records";
    assert_eq!(database.text(row, &[]).await, "123/PROCESSED/true");
    let totals =
        "SELECT total_upload_bytes || '/' || total_download_bytes || '/' || total_bytes FROM usage_cycles";
    assert_eq!(database.text(totals, &[]).await, "100/23/123");
    pipeline.finish().await;
    database.assert_reconciled().await;
}
