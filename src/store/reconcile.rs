//! The invariants, each a query that returns no row (`simbridge reconcile`).

use chrono::{DateTime, Months, NaiveDate, NaiveTime, Utc};
use deadpool_postgres::{Object, Transaction};
use serde::Serialize;
use tokio_postgres::IsolationLevel;
use tokio_postgres::types::ToSql;

use crate::domain::Iccid;

use super::{Statement, StatementMode, Store, StoreError, statement};

/// By what the query of an invariant can be confined.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// ICCIDs after one and up to another.
    Sims,
    /// Moments from one and before another.
    Hours,
    /// Days from one and before another, both the first of a month.
    Days,
    /// Nothing: it is cheap.
    Nothing,
}

/// One invariant.
struct Invariant {
    name: &'static str,
    /// What holds when the query returns nothing.
    meaning: &'static str,
    query: Statement,
    by: By,
}

macro_rules! invariant {
    ($name:literal, $file:literal, Sims, $meaning:literal) => {
        Invariant { name: $name, meaning: $meaning, query: statement!($file, TEXT, TEXT), by: By::Sims }
    };
    ($name:literal, $file:literal, Hours, $meaning:literal) => {
        Invariant {
            name: $name,
            meaning: $meaning,
            query: statement!($file, TIMESTAMPTZ, TIMESTAMPTZ),
            by: By::Hours,
        }
    };
    ($name:literal, $file:literal, Days, $meaning:literal) => {
        Invariant { name: $name, meaning: $meaning, query: statement!($file, DATE, DATE), by: By::Days }
    };
    ($name:literal, $file:literal, Nothing, $meaning:literal) => {
        Invariant { name: $name, meaning: $meaning, query: statement!($file), by: By::Nothing }
    };
}

#[rustfmt::skip]
static INVARIANTS: [Invariant; 13] = [
    invariant!("I1", "reconcile_i1", Sims, "each cycle's totals are the sum and count of its records"),
    invariant!("I2", "reconcile_i2", Sims, "keys and records match one to one"),
    invariant!("I3", "reconcile_i3", Hours, "each hour is the sum of its records, and its SIMs are counted once"),
    invariant!("I4", "reconcile_i4_sims", Sims, "each SIM's days, in its tenant's time zone, are the sums of its records"),
    invariant!("I4", "reconcile_i4_costs", Sims, "each SIM's days cost what its plans say"),
    invariant!("I4", "reconcile_i4_networks", Days, "the days of carriers and networks are the sums of their SIMs' days"),
    invariant!("I4", "reconcile_i4_days", Days, "daily_usage is the sum of its networks, each SIM counted once"),
    invariant!("I5", "reconcile_i5", Days, "each month is the sum of its days, each SIM counted once"),
    invariant!("I6", "reconcile_i6", Sims, "each record has the tenant, carrier, plan and cycle in force at its period_start"),
    invariant!("I7", "reconcile_i7", Sims, "the cycles of a SIM have no gap and no overlap, and one is current"),
    invariant!("I8", "reconcile_i8", Sims, "a record plus its corrections is never below zero"),
    invariant!("I9", "reconcile_i9", Nothing, "no batch waits for longer than five minutes to be rolled up"),
    invariant!("I11", "reconcile_i11", Days, "the days of a pool are the sums of its members' days"),
];

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    Everything,
    /// SIMs after an ICCID and up to another, without what only whole months can tell.
    Sims {
        after: String,
        up_to: String,
    },
    /// The month that begins on this day, without what only SIMs can tell.
    Month(NaiveDate),
}

/// Sorts after every ICCID.
pub const LAST_SIM: &str = ":";

const ALL_SIMS: (&str, &str) = ("", LAST_SIM);

/// No record is of before or after.
const ALL_DAYS: (NaiveDate, NaiveDate) = (
    NaiveDate::from_ymd_opt(1900, 1, 1).expect("a date"),
    NaiveDate::from_ymd_opt(9999, 1, 1).expect("a date"),
);

/// Bounds of every kind; an invariant takes those of its own.
struct Bounds {
    sims: Option<(String, String)>,
    days: Option<(NaiveDate, NaiveDate)>,
    hours: Option<(DateTime<Utc>, DateTime<Utc>)>,
    rest: bool,
}

impl Bounds {
    fn of(scope: &Scope) -> Self {
        let hours = |(from, before): (NaiveDate, NaiveDate)| {
            (from.and_time(NaiveTime::MIN).and_utc(), before.and_time(NaiveTime::MIN).and_utc())
        };
        match scope {
            Scope::Everything => Self {
                sims: Some((ALL_SIMS.0.to_owned(), ALL_SIMS.1.to_owned())),
                days: Some(ALL_DAYS),
                hours: Some(hours(ALL_DAYS)),
                rest: true,
            },
            Scope::Sims { after, up_to } => {
                Self { sims: Some((after.clone(), up_to.clone())), days: None, hours: None, rest: false }
            }
            Scope::Month(first) => {
                let days = (*first, *first + Months::new(1));
                Self { sims: None, days: Some(days), hours: Some(hours(days)), rest: true }
            }
        }
    }

    /// Parameters for an invariant; `None` when it is not looked at.
    fn params(&self, by: By) -> Option<Vec<&(dyn ToSql + Sync)>> {
        match by {
            By::Sims => self.sims.as_ref().map(|(a, b)| vec![a as &(dyn ToSql + Sync), b]),
            By::Days => self.days.as_ref().map(|(a, b)| vec![a as &(dyn ToSql + Sync), b]),
            By::Hours => self.hours.as_ref().map(|(a, b)| vec![a as &(dyn ToSql + Sync), b]),
            By::Nothing => self.rest.then(Vec::new),
        }
    }
}

static RECONCILE_SLICE: Statement = statement!("reconcile_slice", TEXT, INT8);
static RECONCILE_MONTHS: Statement = statement!("reconcile_months");
static RECONCILE_LOCK: Statement = statement!("reconcile_lock");
pub(super) static HOLD_RECORDS: Statement = statement!("hold_records");
static RECONCILE_MEMORY: Statement = statement!("reconcile_memory");
static RECONCILE_SCOPE: Statement = statement!("reconcile_scope");

/// The queries stop counting here.
pub const COUNTED: usize = 1_000;

/// Violations of one invariant that are kept.
const SHOWN: usize = 20;

/// What one invariant gave.
#[derive(Clone, Debug, Serialize)]
pub struct InvariantResult {
    pub name: &'static str,
    pub meaning: &'static str,
    /// Number of violations, at most [`COUNTED`].
    pub violations: usize,
    /// The first of them, each one line with enough to find it.
    pub shown: Vec<String>,
}

/// All invariants as of one moment.
#[derive(Clone, Debug)]
pub struct Reconciliation {
    pub records: i64,
    pub sims: i64,
    pub cycles: i64,
    /// Decimal text: the sum of total_bytes over all records.
    pub total_bytes: String,
    pub parked: i64,
    pub results: Vec<InvariantResult>,
}

impl Reconciliation {
    pub fn is_clean(&self) -> bool {
        self.results.iter().all(|result| result.violations == 0)
    }
}

impl Store {
    /// Runs every invariant in one snapshot.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn reconcile(&self) -> Result<Reconciliation, StoreError> {
        let mut client = self.client().await?;
        let tx = client
            .build_transaction()
            .isolation_level(IsolationLevel::RepeatableRead)
            .read_only(true)
            .start()
            .await?;
        HOLD_RECORDS.execute(&tx, StatementMode::Unnamed, &[]).await?;
        RECONCILE_MEMORY.execute(&tx, StatementMode::Unnamed, &[]).await?;
        let scope = RECONCILE_SCOPE.rows(&tx, self.mode, &[]).await?;
        let results = check(&tx, &Scope::Everything).await?;
        let scope = &scope[0];
        Ok(Reconciliation {
            records: scope.get("records"),
            sims: scope.get("sims"),
            cycles: scope.get("cycles"),
            total_bytes: scope.get("total_bytes"),
            parked: scope.get("parked"),
            results,
        })
    }

    /// Looks at a part in one snapshot, unless another instance looks at one. A number of violations in what is returned
    /// counts only for the part.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached or takes longer than a statement may.
    pub async fn reconcile_part(&self, scope: &Scope) -> Result<Option<Vec<InvariantResult>>, StoreError> {
        self.in_time(async |client: &mut Object| {
            let snapshot = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead);
            let tx = snapshot.read_only(true).start().await?;
            HOLD_RECORDS.execute(&tx, StatementMode::Unnamed, &[]).await?;
            self.limit_duty(&tx).await?;
            if !RECONCILE_LOCK.rows(&tx, StatementMode::Unnamed, &[]).await?[0].get::<_, bool>("granted") {
                return Ok(None);
            }
            check(&tx, scope).await.map(Some)
        })
        .await
    }

    /// The SIMs after an ICCID that have about `records` records; up to the last one when there are no more.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn next_sims(&self, after: &str, records: i64) -> Result<Scope, StoreError> {
        let client = self.client().await?;
        let rows = RECONCILE_SLICE.rows(&client, StatementMode::Unnamed, &[&after, &records]).await?;
        let up_to: Option<String> = rows[0].get("up_to");
        let up_to = up_to.unwrap_or_else(|| ALL_SIMS.1.to_owned());
        Ok(Scope::Sims { after: after.to_owned(), up_to })
    }

    /// First days of the months of which there are rollups, the newest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn rollup_months(&self) -> Result<Vec<NaiveDate>, StoreError> {
        let client = self.client().await?;
        let rows = RECONCILE_MONTHS.rows(&client, self.mode, &[]).await?;
        Ok(rows.iter().map(|row| row.get("month")).collect())
    }
}

/// Runs the invariants of a scope. Unnamed statements: the plan for a slice would be ruinous for everything.
async fn check(tx: &Transaction<'_>, scope: &Scope) -> Result<Vec<InvariantResult>, StoreError> {
    let bounds = Bounds::of(scope);
    let mut results = Vec::with_capacity(INVARIANTS.len());
    for invariant in &INVARIANTS {
        let Some(params) = bounds.params(invariant.by) else { continue };
        let rows = invariant.query.rows(tx, StatementMode::Unnamed, &params).await?;
        results.push(InvariantResult {
            name: invariant.name,
            meaning: invariant.meaning,
            violations: rows.len(),
            shown: rows.iter().take(SHOWN).map(|row| row.get("violation")).collect(),
        });
    }
    Ok(results)
}

/// The invariants that can be looked at for one SIM.
pub(super) async fn check_sim(
    tx: &Transaction<'_>,
    iccid: &Iccid,
) -> Result<Vec<InvariantResult>, StoreError> {
    check(tx, &Scope::Sims { after: text_before(iccid), up_to: iccid.to_string() }).await
}

/// A text after every ICCID that sorts before this one: the last digit one lower, and what sorts after digits.
fn text_before(iccid: &Iccid) -> String {
    let mut text = iccid.as_str().to_owned();
    let last = text.pop().expect("an ICCID has 10 digits at least");
    text.push(char::from(last as u8 - 1));
    text.push(':');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_the_iccid_lies_between_its_bounds() {
        for iccid in ["8941000000000000000", "8941000000000000009", "8941000000"] {
            let iccid = Iccid::parse(iccid).unwrap();
            let within = |text: &str| text > text_before(&iccid).as_str() && text <= iccid.as_str();
            assert!(within(iccid.as_str()));
            let number: u64 = iccid.as_str().parse().unwrap();
            let longer_before = format!("{}9", number - 1);
            let shorter = &iccid.as_str()[..iccid.as_str().len() - 1];
            let longer = format!("{number}0");
            for other in
                [&(number - 1).to_string(), &longer_before, shorter, &longer, &(number + 1).to_string()]
            {
                assert!(!within(other), "{iccid} {other}");
            }
        }
    }
}
