//! Invoices: one for each carrier and closed month, made from the rollups (migration V10).

use chrono::{DateTime, NaiveDate, Utc};
use tokio_postgres::types::ToSql;

use crate::domain::{Setting, TenantId};

use super::{Statement, Store, StoreError, statement};

static MAKE_INVOICES: Statement = statement!("make_invoices", TIMESTAMPTZ, INT4, INT4);
static LIST: Statement = statement!("list_invoices", INT4, TEXT, DATE);
static MARK: Statement = statement!("mark_invoice", TEXT, INT4, TEXT, DATE, TIMESTAMPTZ);

/// What is known of the payment of an invoice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvoiceStatus {
    /// Follows its month still.
    Pending,
    Paid,
    /// Was pending on its due date.
    Overdue,
    Disputed,
}

impl InvoiceStatus {
    pub const ALL: [Self; 4] = [Self::Pending, Self::Paid, Self::Overdue, Self::Disputed];

    /// As it stands in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Paid => "paid",
            Self::Overdue => "overdue",
            Self::Disputed => "disputed",
        }
    }
}

/// Which invoices are listed; `None` for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InvoiceFilter {
    pub tenant: Option<TenantId>,
    pub status: Option<InvoiceStatus>,
    /// First day of the month.
    pub month: Option<NaiveDate>,
}

/// An invoice in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvoiceSummary {
    pub tenant: String,
    pub number: String,
    /// `None` for SIMs without a carrier.
    pub carrier: Option<String>,
    pub period_start: NaiveDate,
    pub period_end: NaiveDate,
    /// Decimal text.
    pub total_amount: String,
    pub currency: String,
    pub status: String,
    pub due_date: NaiveDate,
    pub paid_date: Option<NaiveDate>,
}

/// What became of a new status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvoiceMarked {
    Done {
        former: String,
        paid_date: Option<NaiveDate>,
    },
    UnknownNumber,
    /// Several tenants have an invoice of this number; nothing was changed.
    Ambiguous,
}

impl Store {
    /// Makes the invoices that are due by the settings, and brings those that follow their month up to date. How many changed.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached; run it again.
    pub async fn keep_invoices(&self, now: DateTime<Utc>) -> Result<i32, StoreError> {
        // Settings of days lie within a hundred years.
        let days = |setting: i64| i32::try_from(setting).unwrap_or(i32::MAX);
        let after = days(self.setting(Setting::InvoiceAfter).await?);
        let due = days(self.setting(Setting::InvoiceDue).await?);
        self.make_invoices(now, after, due).await
    }

    /// Makes the invoices of months that ended at least `after_days` ago, due in `due_days`; lets pending ones follow their
    /// months, and marks overdue ones. Returns how many it made or changed: none when it is called again.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed then.
    pub async fn make_invoices(
        &self,
        now: DateTime<Utc>,
        after_days: i32,
        due_days: i32,
    ) -> Result<i32, StoreError> {
        self.in_time(async |client| {
            let rows = MAKE_INVOICES.rows(&*client, self.mode, &[&now, &after_days, &due_days]).await?;
            Ok(rows[0].get("changed"))
        })
        .await
    }

    /// Invoices, newest month first.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn invoices(&self, filter: InvoiceFilter) -> Result<Vec<InvoiceSummary>, StoreError> {
        let client = self.client().await?;
        let (tenant, status) =
            (filter.tenant.map(|tenant| tenant.0), filter.status.map(InvoiceStatus::as_str));
        let rows = LIST.rows(&client, self.mode, &[&tenant, &status, &filter.month]).await?;
        Ok(rows
            .iter()
            .map(|row| InvoiceSummary {
                tenant: row.get("tenant"),
                number: row.get("invoice_number"),
                carrier: row.get("carrier"),
                period_start: row.get("period_start"),
                period_end: row.get("period_end"),
                total_amount: row.get("total_amount"),
                currency: row.get("currency"),
                status: row.get("status"),
                due_date: row.get("due_date"),
                paid_date: row.get("paid_date"),
            })
            .collect())
    }

    /// Notes what became of an invoice. A paid one has the day `on`, or else the tenant's day at `now`; others have none.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed then.
    pub async fn mark_invoice(
        &self,
        number: &str,
        tenant: Option<TenantId>,
        status: InvoiceStatus,
        on: Option<NaiveDate>,
        now: DateTime<Utc>,
    ) -> Result<InvoiceMarked, StoreError> {
        let client = self.client().await?;
        let tenant = tenant.map(|tenant| tenant.0);
        let params: [&(dyn ToSql + Sync); 5] = [&number, &tenant, &status.as_str(), &on, &now];
        let rows = MARK.rows(&client, self.mode, &params).await?;
        let Some(row) = rows.first() else { return Ok(InvoiceMarked::UnknownNumber) };
        if row.get::<_, i64>("found") > 1 {
            return Ok(InvoiceMarked::Ambiguous);
        }
        Ok(InvoiceMarked::Done { former: row.get("former"), paid_date: row.get("paid_date") })
    }
}
