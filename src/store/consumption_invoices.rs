//! Invoices of one tenant, page by page.

use chrono::NaiveDate;

use super::invoices::InvoiceStatus;
use super::{Statement, Store, StoreError, statement};
use crate::domain::TenantId;

static PAGE: Statement = statement!("page_of_invoices", INT4, TEXT, DATE, DATE, INT8, INT8);

/// Which invoices; `None` for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct InvoiceQuestion {
    pub(crate) status: Option<InvoiceStatus>,
    /// Months that reach to this day or beyond it.
    pub(crate) first: Option<NaiveDate>,
    /// Months that begin on this day at the latest.
    pub(crate) last: Option<NaiveDate>,
    pub(crate) limit: i64,
    pub(crate) offset: i64,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct InvoicePage {
    pub(crate) invoices: Vec<TenantInvoice>,
    /// Of all pages.
    pub(crate) total: i64,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TenantInvoice {
    pub(crate) id: i64,
    pub(crate) number: String,
    pub(crate) carrier_id: i32,
    pub(crate) carrier: String,
    pub(crate) period_start: NaiveDate,
    pub(crate) period_end: NaiveDate,
    pub(crate) total_amount: f64,
    pub(crate) currency: String,
    pub(crate) status: String,
    pub(crate) due_date: NaiveDate,
    pub(crate) paid_date: Option<NaiveDate>,
}

impl Store {
    /// A page, newest month first.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn page_of_invoices(
        &self,
        tenant: TenantId,
        question: &InvoiceQuestion,
    ) -> Result<InvoicePage, StoreError> {
        let client = self.client().await?;
        let InvoiceQuestion { status, first, last, limit, offset } = question;
        let status = status.map(InvoiceStatus::as_str);
        let rows = PAGE.rows(&client, self.mode, &[&tenant.0, &status, first, last, limit, offset]).await?;
        // A page beyond the last one is one row without an invoice.
        let invoices = rows.iter().filter(|row| row.get::<_, Option<i64>>("id").is_some());
        let invoices = invoices.map(|row| TenantInvoice {
            id: row.get("id"),
            number: row.get("invoice_number"),
            carrier_id: row.get("carrier_id"),
            carrier: row.get("carrier"),
            period_start: row.get("period_start"),
            period_end: row.get("period_end"),
            total_amount: row.get("total_amount"),
            currency: row.get("currency"),
            status: row.get("status"),
            due_date: row.get("due_date"),
            paid_date: row.get("paid_date"),
        });
        Ok(InvoicePage {
            invoices: invoices.collect(),
            total: rows.first().map_or(0, |row| row.get("total")),
        })
    }
}
