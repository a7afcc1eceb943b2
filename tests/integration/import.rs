//! SIM inventory from CSV into tables.

use simbridge::domain::TenantId;
use simbridge::inventory;
use simbridge::store::sims::{Imported, SimRow};

use crate::harness::database::{TENANT, TestDatabase};
use crate::harness::pipeline::time;

const NOW: &str = "2026-03-10T12:00:00Z";

/// Imports the good rows; returns what it changed and the faults.
async fn import(database: &TestDatabase, tenant: TenantId, csv: &str) -> (Imported, Vec<String>) {
    let (mut rows, mut faults): (Vec<SimRow>, _) = (Vec::new(), Vec::new());
    for row in inventory::read_csv(csv.as_bytes()).expect("a header") {
        match row {
            Ok(row) => rows.push(row),
            Err(fault) => faults.push(fault.to_string()),
        }
    }
    let imported = database.store.import_sims(tenant, &rows, time(NOW)).await.expect("the import succeeds");
    (imported, faults)
}

async fn sims(database: &TestDatabase) -> Vec<String> {
    let sql = "SELECT concat_ws('|', s.iccid, s.msisdn, c.name, c.mccmnc, p.name, p.price_per_mb::real,
                                s.data_limit_bytes, s.status, s.device_name, s.latitude, s.cycle_day)
               FROM provisioned_sims s LEFT JOIN carriers c ON c.id = s.carrier_id
               LEFT JOIN rate_plans p ON p.id = s.rate_plan_id ORDER BY s.iccid";
    database.rows(sql).await
}

const FULL: &str = "iccid,msisdn,carrier,mccmnc,rate_plan,price_per_mb,data_limit_bytes,status,device_name,latitude,cycle_day\n\
                    8941000000000000001,+41791234567,\"Salt, Mobile\",22803,flat,0.0125,1000,Suspended,pump 1,47.5,15\n";

/// Catches an update that clears what it does not state.
#[tokio::test]
async fn an_update_keeps_what_it_does_not_state() {
    let database = TestDatabase::new().await;
    let (first, _) = import(&database, TENANT, FULL).await;
    assert_eq!((first.created, first.updated), (1, 0));
    let before =
        "8941000000000000001|+41791234567|Salt, Mobile|22803|flat|0.0125|1000|Suspended|pump 1|47.5|15";
    assert_eq!(sims(&database).await, [before]);
    let (again, _) =
        import(&database, TENANT, "\u{feff}ICCID,device_name,cycle_day\n8941000000000000001,pump 2,\n").await;
    assert_eq!((again.created, again.updated), (0, 1));
    assert_eq!(sims(&database).await, [before.replace("pump 1", "pump 2")]);
    assert_eq!(database.number("SELECT count(*) FROM sim_ownership").await, 1, "the owner did not change");
    database.assert_reconciled().await;
}

/// Catches taking a SIM away from its tenant.
#[tokio::test]
async fn a_sim_of_another_tenant_is_left_alone_and_counted() {
    let database = TestDatabase::new().await;
    import(&database, TENANT, FULL).await;
    let before = sims(&database).await;
    let other = database.tenant("other", "UTC").await;
    let csv = "iccid,device_name\n8941000000000000001,mine now\n8941000000000000002,mine\n";
    let (imported, _) = import(&database, other, csv).await;
    assert_eq!((imported.created, imported.updated, imported.foreign), (1, 0, 1));
    assert_eq!(sims(&database).await[0], before[0]);
    let owners = "SELECT iccid || ' ' || (tenant_id = 1) FROM sim_ownership ORDER BY 1";
    assert_eq!(database.rows(owners).await, ["8941000000000000001 true", "8941000000000000002 false"]);
    database.assert_reconciled().await;
}

#[tokio::test]
async fn a_row_at_fault_is_reported_and_the_others_are_imported() {
    let database = TestDatabase::new().await;
    let csv = "iccid,latitude,cycle_day,mccmnc\n8941000000000000001,,,\nabc,,,\n8941000000000000002,91,,\n\
               8941000000000000003,,0,\n8941000000000000004,,,22801\n8941000000000000005,-90,31,\n";
    let (imported, faults) = import(&database, TENANT, csv).await;
    assert_eq!(imported.created, 2);
    let expected = [
        "line 3: iccid must be 10 to 20 digits",
        "line 4: latitude must be a number from -90 to 90",
        "line 5: cycle_day must be a number from 1 to 31",
        "line 6: mccmnc belongs to a carrier, and none is named",
    ];
    assert_eq!(faults, expected);
    database.assert_reconciled().await;
}

/// Catches making the same SIM, carrier or plan twice when two imports meet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn imports_of_the_same_file_at_once_make_each_sim_once() {
    let database = TestDatabase::new().await;
    let (a, b) = tokio::join!(import(&database, TENANT, FULL), import(&database, TENANT, FULL));
    assert_eq!((a.0.created + b.0.created, a.0.updated + b.0.updated), (1, 1));
    assert_eq!(sims(&database).await.len(), 1);
    database.assert_reconciled().await;
}
