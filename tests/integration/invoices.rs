//! Invoices of closed months: what they say, when they are made, and when they follow late records.

use simbridge::domain::{Iccid, TenantId};
use simbridge::store::invoices::{InvoiceMarked, InvoiceStatus};
use simbridge::store::sim_moves::SimMove;
use simbridge::store::sims::SimRow;

use crate::harness::bridge::command;
use crate::harness::database::{TENANT, TestDatabase, sim};
use crate::harness::pipeline::{TestPipeline, correction_at, record_at, sender, time, word};
use crate::harness::server::connect;

const ICCID: &str = "8941000000000000001";
const OTHER: &str = "8941000000000000002";
const LONE: &str = "8941000000000000003";
/// Time at which records are sent; no invoice depends on it.
const SENT: &str = "2026-04-10T12:00:00Z";
/// Three days after March, in UTC.
const CLOSED: &str = "2026-04-04T00:00:00Z";

const INVOICES: &str =
    "SELECT invoice_number, period_start, period_end, total_amount, currency, status, due_date, paid_date
                        FROM invoices ORDER BY invoice_number";
const AMOUNTS: &str = "SELECT invoice_number, total_amount, status FROM invoices ORDER BY invoice_number";

fn on_plan(iccid: &str, carrier: Option<&str>, price: &str, included: i64) -> SimRow {
    SimRow {
        carrier: carrier.map(str::to_owned),
        rate_plan: Some(format!("plan-{price}-{included}")),
        price_per_mb: Some(price.into()),
        included_bytes: Some(included),
        cycle_day: Some(1),
        ..sim(iccid)
    }
}

async fn make(database: &TestDatabase, at: &str) -> i32 {
    database.store.make_invoices(time(at), 3, 30).await.expect("an answer")
}

async fn store(pipeline: &TestPipeline, iccid: &str, id: &str, at: &str, bytes: i64) {
    assert_eq!(word(&pipeline.one(iccid, record_at(id, at, bytes)).await), "stored");
}

/// One SIM that pays 0.50 for each MiB, with 3 MiB in March.
async fn billed() -> (TestDatabase, TestPipeline) {
    let database = TestDatabase::new().await;
    database.import_at("2026-01-01T00:00:00Z", &[on_plan(ICCID, Some("Salt"), "0.5", 0)]).await;
    let pipeline = TestPipeline::start_at(&database.store, SENT);
    store(&pipeline, ICCID, "r", "2026-03-31T23:59:59Z", 3 << 20).await;
    database.roll_up().await;
    (database, pipeline)
}

/// Catches a sum over the wrong month or carrier, a rounding by the way, and an included volume that is billed.
#[tokio::test]
async fn an_invoice_says_what_the_records_of_its_month_cost_to_the_cent() {
    let database = TestDatabase::new().await;
    let rows = [
        on_plan(ICCID, Some("Salt"), "0.0332", 0),
        on_plan(OTHER, Some("Sunrise"), "1.25", 10 << 20),
        on_plan(LONE, None, "0.004", 0),
    ];
    database.import_at("2026-01-01T00:00:00Z", &rows).await;
    let pipeline = TestPipeline::start_at(&database.store, SENT);
    // 0.0332 CHF for each of 50.5 MiB: 1.6766.
    store(&pipeline, ICCID, "a", "2026-03-01T00:00:00Z", 50 << 20).await;
    store(&pipeline, ICCID, "b", "2026-03-31T23:59:59Z", 1 << 19).await;
    // 10 MiB are included in each cycle; of 8 + 5 MiB in March 3 cost 1.25 each. February and April have volumes of their own.
    store(&pipeline, OTHER, "c", "2026-02-28T23:59:59Z", 9 << 20).await;
    store(&pipeline, OTHER, "d", "2026-03-02T00:00:00Z", 8 << 20).await;
    store(&pipeline, OTHER, "e", "2026-03-20T00:00:00Z", 5 << 20).await;
    store(&pipeline, OTHER, "f", "2026-04-01T00:00:00Z", 11 << 20).await;
    // No carrier: 0.004 for 1 MiB in February, nothing in March.
    store(&pipeline, LONE, "g", "2026-02-03T00:00:00Z", 1 << 20).await;
    store(&pipeline, LONE, "h", "2026-03-03T00:00:00Z", 0).await;
    database.roll_up().await;
    assert_eq!(make(&database, CLOSED).await, 4);
    let march = |number: &str, amount: &str| {
        format!("{number}|2026-03-01|2026-03-31|{amount}|CHF|pending|2026-05-04|NULL")
    };
    let february = |number: &str| format!("{number}|2026-02-01|2026-02-28|0.00|CHF|pending|2026-05-04|NULL");
    assert_eq!(
        database.rows(INVOICES).await,
        [
            february("INV-1-202602-0"),
            february("INV-1-202602-2"),
            march("INV-1-202603-1", "1.68"),
            march("INV-1-202603-2", "3.75"),
        ]
    );
    // Everything stays, whoever asks again and when.
    for at in [CLOSED, "2026-04-20T00:00:00Z", "2026-05-03T23:59:59Z"] {
        assert_eq!(make(&database, at).await, 0);
    }
    // April: 1 MiB beyond the volume.
    assert_eq!(make(&database, "2026-05-04T00:00:00Z").await, 1);
    assert_eq!(
        database.text("SELECT total_amount FROM invoices WHERE period_start = '2026-04-01'", &[]).await,
        "1.25"
    );
}

/// Catches a month that is closed by the server's clock instead of the tenant's.
#[tokio::test]
async fn a_month_is_over_when_it_is_over_in_the_tenants_time_zone() {
    let database = TestDatabase::new().await;
    let pipeline = TestPipeline::start_at(&database.store, SENT);
    let places = [("kolkata", "Asia/Kolkata", ICCID), ("newyork", "America/New_York", OTHER)];
    for (name, zone, iccid) in places {
        let tenant = database.tenant(name, zone).await;
        let rows = [on_plan(iccid, Some("Salt"), "1", 0)];
        database.store.import_sims(tenant, &rows, time("2026-01-01T00:00:00Z")).await.expect("an import");
        // The first moment of April in Kolkata, the last but some hours of March in New York.
        for (n, at) in ["2026-03-31T18:29:59Z", "2026-03-31T18:30:00Z"].into_iter().enumerate() {
            let by = simbridge::ingest::queue::Sender { tenant, ..sender(false) };
            let sent = pipeline.one_as(by, iccid, record_at(&format!("r-{n}"), at, 1 << 20)).await;
            assert_eq!(word(&sent), "stored");
        }
    }
    database.roll_up().await;
    // Midnight between 3 and 4 April is at 18:30 UTC in Kolkata and at 04:00 UTC, nine hours and a half later, in New York.
    for (at, made) in [
        ("2026-04-03T18:29:59Z", 0),
        ("2026-04-03T18:30:00Z", 1),
        ("2026-04-04T03:59:59Z", 0),
        ("2026-04-04T04:00:00Z", 1),
    ] {
        assert_eq!(make(&database, at).await, made, "{at}");
    }
    let march = "SELECT t.name, i.total_amount, i.due_date FROM invoices i JOIN tenants t ON t.id = i.tenant_id ORDER BY 1";
    assert_eq!(database.rows(march).await, ["kolkata|1.00|2026-05-04", "newyork|2.00|2026-05-04"]);
    // Overdue on the day after, which begins in Kolkata first.
    for (at, late) in [
        // April's invoice of Kolkata, closed for a day by then.
        ("2026-05-04T18:29:59Z", 1),
        ("2026-05-04T18:30:00Z", 1),
        ("2026-05-05T03:59:59Z", 0),
        ("2026-05-05T04:00:00Z", 1),
    ] {
        assert_eq!(make(&database, at).await, late, "{at}");
    }
    let states = "SELECT t.name, i.status FROM invoices i JOIN tenants t ON t.id = i.tenant_id
                  WHERE i.period_start = '2026-03-01' ORDER BY 1";
    assert_eq!(database.rows(states).await, ["kolkata|overdue", "newyork|overdue"]);
}

/// Catches an invoice that is made or changed while some of its month is not counted yet.
#[tokio::test]
async fn a_month_with_records_that_are_not_rolled_up_waits() {
    let (database, pipeline) = billed().await;
    store(&pipeline, ICCID, "late", "2026-03-01T00:00:00Z", 1 << 20).await;
    assert_eq!(make(&database, CLOSED).await, 0);
    database.roll_up().await;
    // A record of April is none of March's business.
    store(&pipeline, ICCID, "april", "2026-04-01T00:00:00Z", 1 << 20).await;
    assert_eq!(make(&database, CLOSED).await, 1);
    assert_eq!(database.rows(AMOUNTS).await, ["INV-1-202603-1|2.00|pending"]);
    database.run("UPDATE tenants SET time_zone = 'Asia/Kolkata' WHERE id = 1").await;
    database.roll_up().await;
    assert_eq!(
        make(&database, "2026-05-20T00:00:00Z").await,
        1,
        "overdue, and no invoice while the zone changes"
    );
    database.move_zones().await;
    assert_eq!(make(&database, "2026-05-20T00:00:00Z").await, 1);
}

/// Catches an amount that is forgotten after a late record, and one that changes after it was paid.
#[tokio::test]
async fn a_pending_invoice_follows_its_month_and_any_other_stays() {
    let (database, pipeline) = billed().await;
    assert_eq!(make(&database, CLOSED).await, 1);
    let number = "INV-1-202603-1";
    let late = async |id: &str| {
        store(&pipeline, ICCID, id, "2026-03-05T00:00:00Z", 1 << 20).await;
        database.roll_up().await;
        make(&database, "2026-04-12T00:00:00Z").await
    };
    assert_eq!(late("late-1").await, 1);
    assert_eq!(database.rows(AMOUNTS).await, [format!("{number}|2.00|pending")]);
    let mark = async |status, on: Option<&str>| {
        let on = on.map(|day| day.parse().expect("a date"));
        database.store.mark_invoice(number, Some(TENANT), status, on, time(SENT)).await.expect("an answer")
    };
    for (n, status) in [InvoiceStatus::Paid, InvoiceStatus::Disputed].into_iter().enumerate() {
        mark(status, None).await;
        assert_eq!(late(&format!("late-{}", n + 2)).await, 0);
        assert_eq!(database.rows(AMOUNTS).await, [format!("{number}|2.00|{}", status.as_str())]);
    }
    let paid = "SELECT paid_date FROM invoices";
    assert_eq!(database.rows(paid).await, ["NULL"]);
    // Pending again, it catches up; corrections lower it.
    assert!(matches!(mark(InvoiceStatus::Pending, None).await, InvoiceMarked::Done { .. }));
    assert_eq!(make(&database, "2026-04-12T00:00:00Z").await, 1);
    let back = correction_at("back", "late-1", "2026-03-05T00:00:00Z", -1 << 20);
    assert_eq!(word(&pipeline.one_as(sender(true), ICCID, back).await), "stored");
    database.roll_up().await;
    assert_eq!(make(&database, "2026-04-12T00:00:00Z").await, 1);
    assert_eq!(database.rows(AMOUNTS).await, [format!("{number}|2.50|pending")]);
    // On the due date it is pending, a day later overdue and fixed.
    assert_eq!(make(&database, "2026-05-03T23:59:59Z").await, 0);
    assert_eq!(make(&database, "2026-05-05T00:00:00Z").await, 1);
    assert_eq!(late("late-9").await, 0);
    assert_eq!(database.rows(AMOUNTS).await, [format!("{number}|2.50|overdue")]);
}

/// Catches an invoice that is deleted, or that goes on asking for what somebody else pays.
#[tokio::test]
async fn a_month_whose_records_moved_away_costs_nothing() {
    let (database, _pipeline) = billed().await;
    let other = database.tenant("other", "UTC").await;
    assert_eq!(make(&database, CLOSED).await, 1);
    let to = SimMove {
        iccid: Iccid::parse(ICCID).expect("an ICCID"),
        tenant: Some(other),
        carrier: None,
        rate_plan: None,
        from: time("2026-01-01T00:00:00Z"),
    };
    database.store.move_sim(&to, time(SENT)).await.expect("a move");
    assert_eq!(make(&database, CLOSED).await, 2);
    assert_eq!(make(&database, CLOSED).await, 0);
    let TenantId(other) = other;
    let expected = ["INV-1-202603-1|0.00|pending".into(), format!("INV-{other}-202603-1|0.00|pending")];
    assert_eq!(database.rows(AMOUNTS).await, expected);
}

/// Catches two instances that make the same invoice, and one that overwrites what was paid in between.
#[tokio::test]
async fn several_instances_at_once_make_each_invoice_once() {
    let (database, pipeline) = billed().await;
    let other = database.another_store();
    let (one, two) = tokio::join!(make(&database, CLOSED), other.make_invoices(time(CLOSED), 3, 30));
    assert_eq!(one + two.expect("an answer"), 1);
    store(&pipeline, ICCID, "late", "2026-03-05T00:00:00Z", 1 << 20).await;
    database.roll_up().await;
    // Somebody notes the payment while the amount is about to follow.
    let payer = connect(&database.another_config()).await;
    let pay = "BEGIN; UPDATE invoices SET status = 'paid', paid_date = '2026-04-05'";
    payer.batch_execute(pay).await.expect("a payment");
    let following = tokio::spawn(async move { other.make_invoices(time(CLOSED), 3, 30).await });
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    crate::harness::eventually("an update that waits", async || {
        (database.number(waiting).await == 1).then_some(())
    })
    .await;
    payer.batch_execute("COMMIT").await.expect("it is paid");
    assert_eq!(following.await.expect("it ends").expect("an answer"), 0);
    assert_eq!(database.rows(AMOUNTS).await, ["INV-1-202603-1|1.50|paid"]);
}

/// Catches a payment without a day, and a typing error that changes something.
#[tokio::test]
async fn the_commands_list_and_mark_invoices() {
    let (database, _pipeline) = billed().await;
    assert_eq!(make(&database, CLOSED).await, 1);
    let number = "INV-1-202603-1";
    let (code, out, _) = command(&database, &["invoices", "list", "--month", "2026-03"]).await;
    let line = "INV-1-202603-1  default  2026-03  Salt     1.50 CHF  pending  2026-05-04  -";
    assert_eq!((code, out.lines().nth(1)), (Some(0), Some(line)), "{out}");
    for none in [["--month", "2026-02"], ["--status", "paid"]] {
        let (_, out, _) = command(&database, &["invoices", "list", none[0], none[1]]).await;
        assert_eq!(out.lines().count(), 1, "{out}");
    }
    let (code, out, _) = command(
        &database,
        &["invoices", "mark", number, "paid", "--on", "2026-04-09", "--tenant", "default"],
    )
    .await;
    assert_eq!((code, out.as_str()), (Some(0), "INV-1-202603-1: paid on 2026-04-09 (was pending)"));
    let (_, out, _) = command(&database, &["invoice", "mark", number, "paid"]).await;
    assert_eq!(out, "INV-1-202603-1: paid on 2026-04-09 (was paid)");
    let (_, out, _) = command(&database, &["invoices", "mark", number, "disputed"]).await;
    assert_eq!(out, "INV-1-202603-1: disputed (was paid)");
    for (arguments, code, message) in [
        (&["mark", "INV-1-202603-9", "paid"][..], 1, "there is no invoice `INV-1-202603-9`"),
        (&["mark", number, "overdue"], 2, "possible values: paid, disputed, pending"),
        (&["mark", number, "pending", "--on", "2026-04-09"], 2, "--on is the day of a payment"),
        (&["mark", number, "paid", "--on", "9.4.2026"], 2, "a day is written 2026-03-31"),
        (&["mark", number, "paid", "--tenant", "nobody"], 1, "there is no tenant `nobody`"),
        (&["list", "--month", "2026-3"], 2, "a month is written 2026-03"),
        (&["list", "--status", "open"], 2, "an invoice is pending, paid, overdue, disputed"),
    ] {
        let (ended, _, err) = command(&database, &[&["invoices"], arguments].concat()).await;
        assert_eq!(ended, Some(code), "{err}");
        assert!(err.contains(message), "{err}");
    }
    assert_eq!(database.rows(AMOUNTS).await, ["INV-1-202603-1|1.50|disputed"]);
}
