//! The invariants, each a query that returns no row (`simbridge reconcile`).

use tokio_postgres::IsolationLevel;
use tokio_postgres::types::ToSql;

use super::{Statement, Store, StoreError, statement};

/// One invariant.
struct Invariant {
    name: &'static str,
    /// What holds when the query returns nothing.
    meaning: &'static str,
    query: Statement,
    /// Takes bounds of ICCIDs; otherwise it looks at everything.
    by_sim: bool,
}

/// Digits sort between these.
const ALL_SIMS: (&str, &str) = ("", ":");

static INVARIANTS: [Invariant; 12] = [
    Invariant {
        name: "I1",
        meaning: "each cycle's totals are the sum and count of its records",
        query: statement!("reconcile_i1", TEXT, TEXT),
        by_sim: true,
    },
    Invariant {
        name: "I2",
        meaning: "keys and records match one to one",
        query: statement!("reconcile_i2", TEXT, TEXT),
        by_sim: true,
    },
    Invariant {
        name: "I3",
        meaning: "each hour is the sum of its records, and its SIMs are counted once",
        query: statement!("reconcile_i3"),
        by_sim: false,
    },
    Invariant {
        name: "I4",
        meaning: "each SIM's days, in its tenant's time zone, are the sums of its records",
        query: statement!("reconcile_i4_sims", TEXT, TEXT),
        by_sim: true,
    },
    Invariant {
        name: "I4",
        meaning: "each SIM's days cost what its plans say",
        query: statement!("reconcile_i4_costs", TEXT, TEXT),
        by_sim: true,
    },
    Invariant {
        name: "I4",
        meaning: "the days of carriers and networks are the sums of their SIMs' days",
        query: statement!("reconcile_i4_networks"),
        by_sim: false,
    },
    Invariant {
        name: "I4",
        meaning: "daily_usage is the sum of its networks, each SIM counted once",
        query: statement!("reconcile_i4_days"),
        by_sim: false,
    },
    Invariant {
        name: "I5",
        meaning: "each month is the sum of its days, each SIM counted once",
        query: statement!("reconcile_i5"),
        by_sim: false,
    },
    Invariant {
        name: "I6",
        meaning: "each record has the tenant, carrier, plan and cycle in force at its period_start",
        query: statement!("reconcile_i6", TEXT, TEXT),
        by_sim: true,
    },
    Invariant {
        name: "I7",
        meaning: "the cycles of a SIM have no gap and no overlap, and one is current",
        query: statement!("reconcile_i7", TEXT, TEXT),
        by_sim: true,
    },
    Invariant {
        name: "I8",
        meaning: "a record plus its corrections is never below zero",
        query: statement!("reconcile_i8", TEXT, TEXT),
        by_sim: true,
    },
    Invariant {
        name: "I9",
        meaning: "no batch waits for longer than five minutes to be rolled up",
        query: statement!("reconcile_i9"),
        by_sim: false,
    },
];

static RECONCILE_SCOPE: Statement = statement!("reconcile_scope");

/// The queries stop counting here.
pub const COUNTED: usize = 1_000;

/// Violations of one invariant that are kept.
const SHOWN: usize = 20;

/// What one invariant gave.
#[derive(Clone, Debug)]
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
        let scope = RECONCILE_SCOPE.rows(&tx, self.mode, &[]).await?;
        let mut results = Vec::with_capacity(INVARIANTS.len());
        for invariant in &INVARIANTS {
            let (after, up_to) = ALL_SIMS;
            let bounds: [&(dyn ToSql + Sync); 2] = [&after, &up_to];
            let params = if invariant.by_sim { &bounds[..] } else { &[] };
            let rows = invariant.query.rows(&tx, self.mode, params).await?;
            results.push(InvariantResult {
                name: invariant.name,
                meaning: invariant.meaning,
                violations: rows.len(),
                shown: rows.iter().take(SHOWN).map(|row| row.get("violation")).collect(),
            });
        }
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
}
