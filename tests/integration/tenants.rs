//! Tenants and SIMs that change hands, through the commands.

use simbridge::store::sims::SimRow;

use crate::harness::bridge::command;
use crate::harness::database::{TENANT, TestDatabase, sim};
use crate::harness::pipeline::{TestPipeline, record_at, word};

const ICCID: &str = "8941000000000000001";
const NOW: &str = "2026-03-10T12:00:00Z";
const DAYS: &str =
    "SELECT tenant_id, usage_date, data_bytes, active_sim_count FROM daily_usage ORDER BY 1, 2, carrier_id";

fn on_plan(iccid: &str, plan: &str) -> SimRow {
    SimRow { rate_plan: Some(plan.into()), price_per_mb: Some("0.5".into()), ..sim(iccid) }
}

/// Catches a zone that is stored without its days being moved, and a command that does not say so.
#[tokio::test]
async fn a_change_of_the_time_zone_moves_the_days() {
    let database = TestDatabase::new().await;
    database.import_at(NOW, &[sim(ICCID)]).await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    assert_eq!(word(&pipeline.one(ICCID, record_at("a", "2026-03-08T02:00:00Z", 7)).await), "stored");
    database.roll_up().await;
    assert_eq!(database.rows(DAYS).await, ["1|2026-03-08|7|1"]);

    let set = ["tenants", "set", "default", "--time-zone", "america/new_york"];
    let (code, out, err) = command(&database, &set).await;
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("begin in America/New_York (before: UTC)") && out.contains("they move"), "{out}");
    let (_, list, _) = command(&database, &["tenants", "list"]).await;
    assert!(list.contains("1 SIMs to move from UTC"), "{list}");
    database.assert_reconciled().await;
    let again = ["tenants", "set", "default", "--time-zone", "UTC"];
    let (code, _, err) = command(&database, &again).await;
    assert_eq!(code, Some(1));
    assert_eq!(
        err,
        "simbridge: the time zone of tenant default is being changed already; wait until its days have moved"
    );

    database.move_zones().await;
    assert_eq!(database.rows(DAYS).await, ["1|2026-03-07|7|1"]);
    database.assert_reconciled().await;
    let (_, list, _) = command(&database, &["tenants", "list"]).await;
    assert!(!list.contains("to move"), "{list}");
    let (code, out, _) = command(&database, &set).await;
    assert_eq!((code, out.as_str()), (Some(0), "days of tenant `default` begin in America/New_York already"));
}

/// Catches a zone that PostgreSQL would take for the opposite of what was meant, and one that it does not know.
#[tokio::test]
async fn a_tenant_has_a_zone_that_postgresql_knows_by_name() {
    let database = TestDatabase::new().await;
    let add = ["tenants", "add", "acme", "--time-zone", "Europe/Zurich", "--currency", "EUR"];
    let (code, out, err) = command(&database, &add).await;
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(out, "tenant `acme` added: bills in EUR, days begin in Europe/Zurich");
    let (code, _, err) = command(&database, &add).await;
    assert_eq!((code, err.as_str()), (Some(1), "simbridge: there is a tenant `acme` already"));
    for zone in ["Europe/Zurch", "UTC+2", ""] {
        let (code, _, err) = command(&database, &["tenants", "set", "acme", "--time-zone", zone]).await;
        assert_eq!(code, Some(1));
        assert!(err.starts_with(&format!("simbridge: PostgreSQL knows no time zone `{zone}`")), "{err}");
    }
    let (code, _, err) = command(&database, &["tenants", "set", "acne", "--currency", "CHF"]).await;
    assert_eq!((code, err.as_str()), (Some(1), "simbridge: there is no tenant `acne`"));
    for wrong in [
        &["tenants", "add", "Acme"][..],
        &["tenants", "add", "-acme"],
        &["tenants", "add", "other", "--currency", "Fr."],
        &["tenants", "set", "acme"],
    ] {
        assert_eq!(command(&database, wrong).await.0, Some(2), "{wrong:?}");
    }
    let tenants = "SELECT name, time_zone, currency FROM tenants ORDER BY id";
    assert_eq!(database.rows(tenants).await, ["default|UTC|CHF", "acme|Europe/Zurich|EUR"]);
}

/// Catches amounts of two currencies that are added up.
#[tokio::test]
async fn a_currency_stays_while_there_are_plans_in_it() {
    let database = TestDatabase::new().await;
    database.import_at(NOW, &[on_plan(ICCID, "flat")]).await;
    let change = ["tenants", "set", "default", "--currency", "EUR", "--time-zone", "Asia/Tokyo"];
    let (code, _, err) = command(&database, &change).await;
    assert_eq!(code, Some(1));
    assert!(err.contains("has rate plans in CHF"), "{err}");
    let tenants = "SELECT time_zone, currency, (SELECT count(*) FROM zone_changes) FROM tenants";
    assert_eq!(database.rows(tenants).await, ["UTC|CHF|0"], "nothing of it was done");
    let (code, _, _) = command(&database, &["tenants", "set", "default", "--currency", "CHF"]).await;
    assert_eq!(code, Some(0), "the one that they have");
    database.tenant("acme", "UTC").await;
    let (code, out, _) = command(&database, &["tenants", "set", "acme", "--currency", "EUR"]).await;
    assert_eq!((code, out.as_str()), (Some(0), "tenant `acme` bills in EUR (before: CHF)"));
}

/// Catches a day that begins in the former tenant's zone, or in UTC.
#[tokio::test]
async fn a_sim_moves_from_midnight_on_in_the_zone_of_its_new_tenant() {
    let database = TestDatabase::new().await;
    let acme = database.tenant("acme", "Asia/Kolkata").await;
    database.import_at("2026-01-01T00:00:00Z", &[on_plan(ICCID, "flat")]).await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    for (id, at) in [("before", "2026-03-04T18:29:59Z"), ("after", "2026-03-04T18:30:00Z")] {
        assert_eq!(word(&pipeline.one(ICCID, record_at(id, at, 1)).await), "stored");
    }
    database.roll_up().await;
    let moved = ["sims", "move", ICCID, "--tenant", "acme", "--carrier", "Salt", "--from", "2026-03-05"];
    let (code, out, err) = command(&database, &moved).await;
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(
        out,
        format!(
            "SIM {ICCID} since 2026-03-04 18:30:00 UTC: tenant acme, carrier Salt\n1 records count elsewhere now"
        )
    );
    assert_eq!(
        database.rows(DAYS).await,
        [format!("{}|2026-03-04|1|1", TENANT.0), format!("{}|2026-03-05|1|1", acme.0)]
    );
    database.assert_reconciled().await;
}

/// Catches a typing error that moves a SIM to nowhere.
#[tokio::test]
async fn a_move_names_what_it_does_not_know() {
    let database = TestDatabase::new().await;
    database.import_at(NOW, &[on_plan(ICCID, "flat")]).await;
    database.tenant("acme", "UTC").await;
    let unknown = "8941000000000000009";
    for (arguments, said) in [
        (&[unknown, "--carrier", "Salt"][..], format!("there is no SIM {unknown} in the inventory")),
        (
            &[unknown, "--carrier", "Salt", "--from", "2026-03-05"],
            format!("there is no SIM {unknown} in the inventory"),
        ),
        (&[ICCID, "--tenant", "acne"], "there is no tenant `acne`".into()),
        (&[ICCID, "--plan", "pool"], "the SIM's tenant has no rate plan `pool`".into()),
        (&[ICCID, "--tenant", "acme", "--plan", "flat"], "tenant `acme` has no rate plan `flat`".into()),
    ] {
        let (code, _, err) = command(&database, &[&["sim", "move"], arguments].concat()).await;
        assert_eq!((code, err), (Some(1), format!("simbridge: {said}")));
    }
    for wrong in
        [&[ICCID][..], &["123", "--carrier", "Salt"], &[ICCID, "--carrier", "Salt", "--from", "yesterday"]]
    {
        assert_eq!(command(&database, &[&["sims", "move"], wrong].concat()).await.0, Some(2), "{wrong:?}");
    }
    assert_eq!(database.number("SELECT count(*) FROM sim_ownership").await, 1);
    assert_eq!(
        database.number("SELECT count(*) FROM carriers").await,
        0,
        "a move that fails adds no carrier"
    );
}
