//! The consumption API (contract §5): exact bodies, agreement of all panels, calendars, tenants, and how it is read.

mod agreement;
mod calendar;
mod faults;
mod keeping;
mod pages;
mod panels;
mod plans;
mod portal;
mod split;

use simbridge::store::sims::SimRow;

use crate::harness::database::{TestDatabase, sim};
use crate::harness::pipeline::{TestPipeline, word};

const SALT_SIM: &str = "8941000000000000001";
const SUNRISE_SIM: &str = "8941000000000000002";
const NOW: &str = "2026-03-10T12:00:00Z";
const READ: &[&str] = &["consumption:read"];
const MB: i64 = 1 << 20;

/// A SIM with a carrier and a plan in CHF.
fn on_plan(iccid: &str, carrier: &str, network: &str, plan: &str, price: &str, included: i64) -> SimRow {
    SimRow {
        carrier: Some(carrier.into()),
        mccmnc: Some(network.into()),
        rate_plan: Some(plan.into()),
        price_per_mb: Some(price.into()),
        included_bytes: Some(included),
        ..sim(iccid)
    }
}

/// A usage record as JSON, of one moment, in a serving network or an unknown one.
fn record_in(record_id: &str, at: &str, bytes: i64, network: Option<&str>) -> String {
    let network = network.map(|network| format!(r#","mccmnc":"{network}""#)).unwrap_or_default();
    format!(
        r#"{{"recordId":"{record_id}","periodStart":"{at}","periodEnd":"{at}","usage":{{"totalBytes":{bytes}}}{network}}}"#
    )
}

/// Two SIMs of two carriers with plans, places, and five records in two networks and an unknown one; rolled up.
async fn two_carriers(database: &TestDatabase) {
    let salt = on_plan(SALT_SIM, "Salt", "22803", "flat", "0.5", 0);
    let sunrise = on_plan(SUNRISE_SIM, "Sunrise", "22802", "pool", "1", 2 * MB);
    let (device_name, location_name) = (Some("Gate 4".into()), Some("Zurich".into()));
    let rows = [
        SimRow { latitude: Some(47.3769), longitude: Some(8.5417), device_name, location_name, ..salt },
        SimRow { latitude: Some(46.9481), longitude: Some(7.4474), ..sunrise },
    ];
    database.import_at("2026-01-01T00:00:00Z", &rows).await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    for (n, (iccid, at, megabytes, network)) in [
        (SALT_SIM, "2026-03-10T10:00:00Z", 1, Some("22801")),
        (SALT_SIM, "2026-03-10T11:00:00Z", 2, Some("22802")),
        (SUNRISE_SIM, "2026-03-10T11:30:00Z", 4, Some("22801")),
        (SUNRISE_SIM, "2026-03-09T11:30:00Z", 8, Some("22801")),
        (SUNRISE_SIM, "2026-02-09T11:30:00Z", 16, None),
    ]
    .into_iter()
    .enumerate()
    {
        let record = record_in(&format!("r-{n}"), at, megabytes * MB, network);
        assert_eq!(word(&pipeline.one(iccid, record).await), "stored");
    }
    database.roll_up().await;
}
