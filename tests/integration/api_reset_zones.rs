//! Resets of SIMs whose cycles begin on any day in any zone.

use serde_json::json;
use simbridge::store::sims::SimRow;

use crate::harness::api::TestApi;
use crate::harness::database::{TestDatabase, sim};

const ICCID: &str = "8941000000000000001";
const NOW: &str = "2026-01-30T12:00:00Z";

/// Catches a check of the bounds that takes the tenant's month for one in UTC.
#[tokio::test]
async fn the_bounds_that_the_program_would_choose_itself_are_accepted_in_every_zone() {
    for (zone, day) in [
        ("UTC", 1),
        ("America/New_York", 31),
        ("Pacific/Pago_Pago", 31),
        ("Pacific/Kiritimati", 1),
        ("Europe/Zurich", 29),
    ] {
        let database = TestDatabase::new().await;
        database.run(&format!("UPDATE tenants SET time_zone = '{zone}' WHERE id = 1")).await;
        database.import_at(NOW, &[SimRow { cycle_day: Some(day), ..sim(ICCID) }]).await;
        for month in ["2026-02", "2026-03"] {
            let bound = |months: u8| {
                format!(
                    "SELECT to_char(cycle_boundary((date '{month}-01' + interval '{months} months')::date, '{zone}', {day})
                                    AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"
                )
            };
            let (start, end) = (database.text(&bound(0), &[]).await, database.text(&bound(1), &[]).await);
            // From the end of February on, March is not too far ahead.
            let at = if month == "2026-02" { NOW } else { "2026-02-28T12:00:00Z" };
            let api = TestApi::start_at(&database, at).await;
            let key = api.key(&["usage:write"]).await;
            let body = json!({"iccid": ICCID, "billingCycleId": month, "cycleStart": start, "cycleEnd": end});
            let answer = api.post_as(&key, "/api/v1/usage/reset", &body).await;
            assert_eq!(answer.status, 200, "{zone} {body} {}", answer.text);
            assert_eq!(answer.json()["newCycle"], json!({"id": month, "start": start, "end": end}));
            database.assert_reconciled().await;
            api.close().await;
        }
    }
}
