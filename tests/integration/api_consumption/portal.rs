//! Invoices, the currency, names of networks.

use chrono::NaiveDate;
use serde_json::{Value, json};
use simbridge::store::invoices::InvoiceStatus;

use super::{NOW, READ, SALT_SIM, on_plan, two_carriers};
use crate::harness::api::TestApi;
use crate::harness::database::TestDatabase;
use crate::harness::pipeline::time;

#[tokio::test]
async fn invoices_are_listed_page_by_page() {
    let database = TestDatabase::new().await;
    two_carriers(&database).await;
    database.store.make_invoices(time("2026-04-05T00:00:00Z"), 3, 30).await.expect("invoices");
    let on = NaiveDate::from_ymd_opt(2026, 3, 20);
    let marked =
        database.store.mark_invoice("INV-1-202602-2", None, InvoiceStatus::Paid, on, time(NOW)).await;
    marked.expect("an invoice");
    let api = TestApi::start_at(&database, "2026-04-05T12:00:00Z").await;
    let key = api.key(READ).await;
    let get = async |query: &str| api.get_as(&key, &format!("/api/consumption/invoices{query}")).await.json();
    let all = get("").await;
    let invoice = |n: usize,
                   number: &str,
                   carrier: (i32, &str),
                   month: (&str, &str),
                   amount: f64,
                   status: &str,
                   paid: Value| {
        json!({"id": all["data"][n]["id"].as_i64().expect("a number"), "invoiceNumber": number, "carrierId": carrier.0,
               "carrierName": carrier.1, "periodStart": month.0, "periodEnd": month.1, "totalAmount": amount, "currency": "CHF",
               "status": status, "dueDate": "2026-05-05", "paidDate": paid})
    };
    let march = ("2026-03-01", "2026-03-31");
    let invoices = [
        invoice(0, "INV-1-202603-1", (1, "Salt"), march, 1.5, "pending", Value::Null),
        invoice(1, "INV-1-202603-2", (2, "Sunrise"), march, 10.0, "pending", Value::Null),
        invoice(
            2,
            "INV-1-202602-2",
            (2, "Sunrise"),
            ("2026-02-01", "2026-02-28"),
            14.0,
            "paid",
            json!("2026-03-20"),
        ),
    ];
    let page = |rows: &[Value], page: i64, limit: i64, total: i64, pages: i64| {
        json!({"success": true, "data": rows,
               "pagination": {"page": page, "limit": limit, "total": total, "totalPages": pages}})
    };
    assert_eq!(all, page(&invoices, 1, 10, 3, 1));
    assert_eq!(get("?page=2&limit=2").await, page(&invoices[2..], 2, 2, 3, 2));
    assert_eq!(get("?page=3&limit=2").await, page(&[], 3, 2, 3, 2));
    assert_eq!(get("?status=paid").await, page(&invoices[2..], 1, 10, 1, 1));
    assert_eq!(get("?status=overdue").await, page(&[], 1, 10, 0, 0));
    assert_eq!(get("?start_date=2026-02-28&end_date=2026-02-28").await, page(&invoices[2..], 1, 10, 1, 1));
    assert_eq!(get("?start_date=2026-03-31").await, page(&invoices[..2], 1, 10, 2, 1));
    api.close().await;
}

/// Catches amounts that are relabelled: 11.5 CHF are not 11.5 EUR.
#[tokio::test]
async fn a_currency_that_was_billed_in_stays() {
    let database = TestDatabase::new().await;
    let api = TestApi::start(&database).await;
    let key = api.key(&["consumption:read", "admin:settings"]).await;
    let path = "/api/settings/currency";
    let currency = |code: &str| json!({"success": true, "currency": code});
    assert_eq!(api.get_as(&key, path).await.json(), currency("CHF"));
    assert_eq!(api.post_as(&key, path, &json!({"currency": "EUR"})).await.json(), currency("EUR"));
    assert_eq!(api.get_as(&key, path).await.json(), currency("EUR"));
    for body in [json!({"currency": "eur"}), json!({"currency": "EURO"})] {
        let answer = api.post_as(&key, path, &body).await;
        let told = "currency: must be three capital letters such as CHF (ISO 4217)";
        assert_eq!((answer.status, answer.json()), (400, json!({"success": false, "error": told})));
    }
    for body in [json!({}), json!({"currency": 1}), json!([])] {
        assert_eq!(api.post_as(&key, path, &body).await.status, 400, "{body}");
    }
    assert_eq!(api.post_as(&key, path, &json!({"currency": "CHF"})).await.json(), currency("CHF"));
    database.import_at(NOW, &[on_plan(SALT_SIM, "Salt", "22803", "flat", "0.5", 0)]).await;
    let answer = api.post_as(&key, path, &json!({"currency": "EUR"})).await;
    let told = "there are rate plans in CHF, and what was billed by them stands: the currency cannot be changed to EUR";
    assert_eq!((answer.status, answer.json()), (409, json!({"success": false, "error": told})));
    assert_eq!(api.get_as(&key, path).await.json(), currency("CHF"));
    let reader = api.key(READ).await;
    assert_eq!(api.post_as(&reader, path, &json!({"currency": "EUR"})).await.status, 403);
    assert_eq!(api.get(path).await.status, 401);
    api.close().await;
}

#[tokio::test]
async fn networks_are_named_by_our_carriers_and_placed_by_their_country_code() {
    let database = TestDatabase::new().await;
    database.import_at(NOW, &[on_plan(SALT_SIM, "Salt", "22803", "flat", "0.5", 0)]).await;
    let api = TestApi::start(&database).await;
    let key = api.key(READ).await;
    let answer = api.get_as(&key, "/api/mccmnc/lookup?codes=22803,310260&codes=90140&codes=99901").await;
    let network = |code: &str, name: &str, country: &str, kind: &str| json!({"mccmnc": code, "carrierName": name, "countryCode": country, "networkType": kind});
    assert_eq!(
        answer.json(),
        json!({"success": true, "data": [
            network("22803", "Salt", "CH", "national"),
            network("310260", "Unknown", "US", "national"),
            network("90140", "Unknown", "", "international"),
        ]})
    );
    for (query, told) in [("", "codes: is required"), ("?codes=1,x", "codes: `1` is not 5 to 6 digits")] {
        let answer = api.get_as(&key, &format!("/api/mccmnc/lookup{query}")).await;
        assert_eq!((answer.status, answer.json()), (400, json!({"success": false, "error": told})));
    }
    api.close().await;
}
