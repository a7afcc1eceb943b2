//! Invoices of closed months.

use axum::Json;
use axum::extract::State;
use chrono::NaiveDate;
use serde::Serialize;
use utoipa::ToSchema;

use crate::store::consumption::{InvoiceQuestion, TenantInvoice};
use crate::store::invoices::InvoiceStatus;

use super::super::ApiState;
use super::super::caller::{Allowed, ReadConsumption};
use super::super::error::ApiError;
use super::super::query::Query;
use super::question;

const PAGE_ROWS_AT_MOST: i64 = 100;
const PAGES_AT_MOST: i64 = 100_000;

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Invoices {
    #[schema(example = true)]
    success: bool,
    /// Newest month first.
    data: Vec<Invoice>,
    pagination: Pagination,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Invoice {
    #[schema(example = 41)]
    id: i64,
    #[schema(example = "INV-1-202610-2")]
    invoice_number: String,
    /// 0 for SIMs without a carrier.
    #[schema(example = 2)]
    carrier_id: i32,
    #[schema(example = "Salt")]
    carrier_name: String,
    #[schema(example = "2026-10-01")]
    period_start: NaiveDate,
    #[schema(example = "2026-10-31")]
    period_end: NaiveDate,
    #[schema(example = 118.4)]
    total_amount: f64,
    #[schema(example = "CHF")]
    currency: String,
    /// pending, paid, overdue or disputed
    #[schema(example = "paid")]
    status: String,
    #[schema(example = "2026-12-03")]
    due_date: NaiveDate,
    /// Null until it is paid.
    #[schema(example = "2026-11-20")]
    paid_date: Option<NaiveDate>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Pagination {
    #[schema(example = 1)]
    page: i64,
    #[schema(example = 10)]
    limit: i64,
    /// Invoices on all pages.
    #[schema(example = 12)]
    total: i64,
    #[schema(example = 2)]
    total_pages: i64,
}

/// Invoices
///
/// One for each carrier and closed month, from what was used at which rate. With dates: those whose month has a day in the
/// range.
#[utoipa::path(
    get, path = "/api/consumption/invoices", tag = "Consumption", security(("bearer" = ["consumption:read"]), ("apiKey" = ["consumption:read"])),
    params(
        ("page" = Option<i64>, Query, description = "From 1"),
        ("limit" = Option<i64>, Query, description = "Invoices of a page, 1 to 100; 10 by default"),
        ("status" = Option<String>, Query, description = "pending, paid, overdue or disputed"),
        ("start_date" = Option<String>, Query, description = "First day, YYYY-MM-DD"),
        ("end_date" = Option<String>, Query, description = "Last day, inclusive"),
    ),
    responses((status = 200, body = Invoices))
)]
pub(super) async fn show(
    caller: Allowed<ReadConsumption>,
    State(state): State<ApiState>,
    mut query: Query,
) -> Result<Json<Invoices>, ApiError> {
    let page = query.number("page", 1, PAGES_AT_MOST).unwrap_or(1);
    let limit = query.number("limit", 1, PAGE_ROWS_AT_MOST).unwrap_or(10);
    let status = query.choice("status", &InvoiceStatus::ALL.map(|status| (status.as_str(), status)));
    let asked = question::asked(&mut query);
    if asked.start.zip(asked.end).is_some_and(|(start, end)| end < start) {
        query.fault("end_date", "must not be before start_date");
    }
    query.finish()?;
    let question =
        InvoiceQuestion { status, first: asked.start, last: asked.end, limit, offset: (page - 1) * limit };
    let found = state.store.page_of_invoices(caller.0.tenant, &question).await?;
    let total_pages = found.total.div_euclid(limit) + i64::from(found.total % limit > 0);
    Ok(Json(Invoices {
        success: true,
        data: found.invoices.into_iter().map(shown).collect(),
        pagination: Pagination { page, limit, total: found.total, total_pages },
    }))
}

fn shown(invoice: TenantInvoice) -> Invoice {
    Invoice {
        id: invoice.id,
        invoice_number: invoice.number,
        carrier_id: invoice.carrier_id,
        carrier_name: invoice.carrier,
        period_start: invoice.period_start,
        period_end: invoice.period_end,
        total_amount: invoice.total_amount,
        currency: invoice.currency,
        status: invoice.status,
        due_date: invoice.due_date,
        paid_date: invoice.paid_date,
    }
}
