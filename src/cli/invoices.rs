use std::process::ExitCode;

use chrono::NaiveDate;
use clap::{Args, Subcommand, ValueEnum};

use crate::app::{Database, Owner, StartError};
use crate::config::Loaded;
use crate::domain::Clock;
use crate::store::Store;
use crate::store::invoices::{InvoiceFilter, InvoiceMarked, InvoiceStatus};

use super::failure::Failure;
use super::sims::tenant_id;
use super::table::{self, printable};

#[derive(Debug, Subcommand)]
pub(super) enum InvoicesCommand {
    /// List invoices, newest month first
    List {
        #[arg(long)]
        tenant: Option<String>,
        #[arg(long, value_parser = status)]
        status: Option<InvoiceStatus>,
        #[arg(long, value_name = "YYYY-MM", value_parser = month)]
        month: Option<NaiveDate>,
    },
    /// Note that an invoice was paid or is disputed, or neither after all
    ///
    /// A pending invoice follows its month when late records change it, and becomes overdue after its due date; a paid or
    /// disputed one stays as it is.
    Mark(MarkArgs),
}

#[derive(Args, Debug)]
pub(super) struct MarkArgs {
    /// Such as INV-1-202603-2
    number: String,
    status: Mark,
    /// Day of the payment [default: today in the tenant's time zone]
    #[arg(long, value_name = "DATE", value_parser = day)]
    on: Option<NaiveDate>,
    /// Tenant that has the invoice
    #[arg(long)]
    tenant: Option<String>,
}

/// `overdue` is left to the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mark {
    Paid,
    Disputed,
    Pending,
}

fn status(text: &str) -> Result<InvoiceStatus, String> {
    let known = InvoiceStatus::ALL.into_iter().find(|status| status.as_str() == text);
    known.ok_or_else(|| format!("an invoice is {}", InvoiceStatus::ALL.map(InvoiceStatus::as_str).join(", ")))
}

fn month(text: &str) -> Result<NaiveDate, &'static str> {
    // chrono alone would take 2026-3 and 2026-03 for the same.
    let well_formed = text.len() == 7;
    let first = NaiveDate::parse_from_str(&format!("{text}-01"), "%Y-%m-%d").ok();
    first.filter(|_| well_formed).ok_or("a month is written 2026-03")
}

fn day(text: &str) -> Result<NaiveDate, &'static str> {
    NaiveDate::parse_from_str(text, "%Y-%m-%d").map_err(|_| "a day is written 2026-03-31")
}

pub(super) async fn run(command: InvoicesCommand, loaded: &Loaded) -> Result<ExitCode, Failure> {
    if let InvoicesCommand::Mark(args) = &command
        && args.on.is_some()
        && args.status != Mark::Paid
    {
        return Err(Failure::new(2, "--on is the day of a payment: only for `paid`"));
    }
    let database = Database::open(&loaded.config, Owner::Command).await?;
    let result = on(command, &database.store).await;
    database.close().await;
    result
}

async fn on(command: InvoicesCommand, store: &Store) -> Result<ExitCode, Failure> {
    store.migrate().await.map_err(StartError::from)?;
    match command {
        InvoicesCommand::List { tenant, status, month } => {
            let tenant = match tenant {
                Some(name) => Some(tenant_id(store, &name).await?),
                None => None,
            };
            list(store, InvoiceFilter { tenant, status, month }).await?;
        }
        InvoicesCommand::Mark(args) => mark(store, &args).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(store: &Store, filter: InvoiceFilter) -> Result<(), Failure> {
    let rows: Vec<Vec<String>> = store
        .invoices(filter)
        .await?
        .into_iter()
        .map(|invoice| {
            vec![
                invoice.number,
                invoice.tenant,
                invoice.period_start.format("%Y-%m").to_string(),
                invoice.carrier.as_deref().map_or("-".into(), printable),
                format!("{} {}", invoice.total_amount, invoice.currency),
                invoice.status,
                invoice.due_date.to_string(),
                invoice.paid_date.map_or("-".into(), |day| day.to_string()),
            ]
        })
        .collect();
    table::print(&["NUMBER", "TENANT", "MONTH", "CARRIER", "AMOUNT", "STATUS", "DUE", "PAID"], &rows);
    Ok(())
}

async fn mark(store: &Store, args: &MarkArgs) -> Result<(), Failure> {
    let tenant = match &args.tenant {
        Some(name) => Some(tenant_id(store, name).await?),
        None => None,
    };
    let status = match args.status {
        Mark::Paid => InvoiceStatus::Paid,
        Mark::Disputed => InvoiceStatus::Disputed,
        Mark::Pending => InvoiceStatus::Pending,
    };
    let number = printable(&args.number);
    match store.mark_invoice(&args.number, tenant, status, args.on, Clock::System.now()).await? {
        InvoiceMarked::Done { former, paid_date } => {
            let on = paid_date.map(|day| format!(" on {day}")).unwrap_or_default();
            println!("{number}: {}{on} (was {former})", status.as_str());
            Ok(())
        }
        InvoiceMarked::UnknownNumber => {
            let of = args.tenant.as_ref().map(|name| format!(" of tenant `{}`", printable(name)));
            Err(Failure::new(1, format!("there is no invoice `{number}`{}", of.unwrap_or_default())))
        }
        InvoiceMarked::Ambiguous => Err(Failure::new(
            1,
            format!("several tenants have an invoice `{number}`: say which with --tenant"),
        )),
    }
}
