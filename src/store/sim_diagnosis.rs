//! One SIM, whole: what is known of it, and everything that is held of it against its records, in one snapshot.

use chrono::{DateTime, NaiveDate, Utc};
use deadpool_postgres::Transaction;
use serde::Serialize;
use tokio_postgres::{IsolationLevel, Row};

use crate::domain::Iccid;

use super::reconcile::{HOLD_RECORDS, InvariantResult, check_sim};
use super::{Statement, StatementMode, Store, StoreError, statement};

static FACTS: Statement = statement!("sim_facts", TEXT);
static CYCLES: Statement = statement!("sim_cycles", TEXT);
static MONTHS: Statement = statement!("sim_months", TEXT);
static NEWEST: Statement = statement!("sim_newest_records", TEXT, INT8);
static RECORDS: Statement = statement!("sim_records", TEXT);
static PARKED: Statement = statement!("sim_parked", TEXT);

/// Records that are shown.
const NEWEST_SHOWN: i64 = 5;

/// What support needs to know of a SIM.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SimDiagnosis {
    pub iccid: String,
    /// Everything that is held agrees with the records.
    pub agrees: bool,
    /// `None` for an ICCID that is not in the inventory.
    pub sim: Option<SimFacts>,
    pub records: SimRecords,
    /// Oldest first.
    pub cycles: Vec<CycleCompared>,
    /// Days of which all raw records are kept, by month, oldest first.
    pub months: Vec<MonthCompared>,
    pub parked: Vec<ParkedByReason>,
    /// Newest first.
    pub last_records: Vec<StoredRecord>,
    /// Invariants of `reconcile` that do not hold for this SIM.
    pub differences: Vec<InvariantResult>,
}

/// A SIM of the inventory.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SimFacts {
    pub sim_id: String,
    pub imsi: Option<String>,
    pub msisdn: Option<String>,
    pub status: String,
    pub customer_id: Option<String>,
    pub device_name: Option<String>,
    pub location_name: Option<String>,
    pub tenant: String,
    pub time_zone: String,
    /// Differs from `time_zone` while the tenant's days move.
    pub rollup_zone: String,
    pub carrier: Option<String>,
    pub mccmnc: Option<String>,
    pub plan: Option<PlanTerms>,
    pub cycle_day: i16,
    pub data_limit_bytes: Option<i64>,
    /// Decimal, of the limit in the current cycle.
    pub percent_used: Option<String>,
    pub current_cycle: Option<CycleBounds>,
}

/// What a plan costs.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanTerms {
    pub name: String,
    /// Decimal.
    pub price_per_mb: String,
    pub currency: String,
    pub included_bytes: i64,
}

/// When a cycle begins and ends.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CycleBounds {
    pub id: String,
    pub start: DateTime<Utc>,
    pub end: DateTime<Utc>,
    pub total_bytes: i128,
}

/// How the records of an ICCID stand.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SimRecords {
    pub stored: i64,
    /// Stored in the name of their sender's tenant, in no cycle.
    pub without_owner: i64,
    pub without_owner_bytes: i128,
    /// Their marker stands: in cycles, and not in days and hours yet.
    pub pending: i64,
    pub pending_bytes: i128,
    pub pending_since: Option<DateTime<Utc>>,
    /// Their tenant, carrier, plan or cycle is not the one in force.
    pub stamped_otherwise: i64,
    /// Newest end of a period in the days.
    pub latest_event_at: Option<DateTime<Utc>>,
    /// Older raw records are gone; `None` while all are kept.
    pub raw_records_since: Option<DateTime<Utc>>,
}

/// Amounts of records that were added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sums {
    pub total_bytes: i128,
    pub upload_bytes: i128,
    pub download_bytes: i128,
    pub sms_count: i128,
    pub voice_seconds: i128,
    pub record_count: i128,
}

/// What is held against what the records say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// As it is held.
    pub previous: Sums,
    /// As the raw records add up.
    pub current: Sums,
    pub delta: Sums,
}

/// A cycle against its records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CycleCompared {
    pub cycle_id: String,
    /// `None` when records name a cycle that is not there.
    pub start: Option<DateTime<Utc>>,
    pub end: Option<DateTime<Utc>>,
    pub is_current: bool,
    /// Its raw records are kept, so that they can be compared.
    pub comparable: bool,
    #[serde(flatten)]
    pub amounts: Comparison,
}

/// The days of a month against their records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MonthCompared {
    pub tenant: String,
    /// Its first day.
    pub month: NaiveDate,
    #[serde(flatten)]
    pub amounts: Comparison,
    pub differing_days: i64,
    pub first_differing_day: Option<NaiveDate>,
    pub last_differing_day: Option<NaiveDate>,
}

/// Parked records of one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ParkedByReason {
    pub reason: String,
    pub entries: i64,
    /// The newest of them.
    pub ids: Vec<i64>,
    pub last_seen_at: DateTime<Utc>,
}

/// A record as it is stored.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredRecord {
    pub id: i64,
    pub record_id: String,
    pub period_start: DateTime<Utc>,
    pub period_end: DateTime<Utc>,
    pub processed_at: DateTime<Utc>,
    pub total_bytes: i64,
    pub sms_count: i64,
    pub voice_seconds: i64,
    pub cycle_id: Option<String>,
    pub mccmnc: Option<String>,
    pub corrects: Option<String>,
    pub pending: bool,
}

impl Store {
    /// Looks at one SIM, in one snapshot.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn diagnose_sim(&self, iccid: &Iccid) -> Result<SimDiagnosis, StoreError> {
        let mut client = self.client().await?;
        let tx = client
            .build_transaction()
            .isolation_level(IsolationLevel::RepeatableRead)
            .read_only(true)
            .start()
            .await?;
        HOLD_RECORDS.execute(&tx, StatementMode::Unnamed, &[]).await?;
        let looked_at = LookedAt { tx: &tx, mode: self.mode, iccid: iccid.as_str() };
        let results = check_sim(&tx, iccid).await?;
        let differences: Vec<_> = results.into_iter().filter(|result| result.violations > 0).collect();
        Ok(SimDiagnosis {
            iccid: iccid.to_string(),
            agrees: differences.is_empty(),
            sim: looked_at.rows(&FACTS).await?.first().map(facts),
            records: records(&looked_at.rows(&RECORDS).await?[0]),
            cycles: looked_at.rows(&CYCLES).await?.iter().map(cycle).collect(),
            months: looked_at.rows(&MONTHS).await?.iter().map(month).collect(),
            parked: looked_at.rows(&PARKED).await?.iter().map(parked).collect(),
            last_records: NEWEST
                .rows(&tx, self.mode, &[&iccid.as_str(), &NEWEST_SHOWN])
                .await?
                .iter()
                .map(record)
                .collect(),
            differences,
        })
    }
}

struct LookedAt<'t> {
    tx: &'t Transaction<'t>,
    mode: StatementMode,
    iccid: &'t str,
}

impl LookedAt<'_> {
    async fn rows(&self, statement: &Statement) -> Result<Vec<Row>, StoreError> {
        statement.rows(self.tx, self.mode, &[&self.iccid]).await
    }
}

impl Comparison {
    fn of(row: &Row) -> Self {
        let (previous, current) = (Sums::of(row, "held"), Sums::of(row, "raw"));
        Self { previous, current, delta: current.minus(&previous) }
    }
}

impl Sums {
    fn of(row: &Row, side: &str) -> Self {
        let sum = |amount: &str| integer(row, &format!("{side}_{amount}"));
        Self {
            total_bytes: sum("total"),
            upload_bytes: sum("upload"),
            download_bytes: sum("download"),
            sms_count: sum("sms"),
            voice_seconds: sum("voice"),
            record_count: sum("records"),
        }
    }

    fn minus(&self, other: &Self) -> Self {
        Self {
            total_bytes: self.total_bytes - other.total_bytes,
            upload_bytes: self.upload_bytes - other.upload_bytes,
            download_bytes: self.download_bytes - other.download_bytes,
            sms_count: self.sms_count - other.sms_count,
            voice_seconds: self.voice_seconds - other.voice_seconds,
            record_count: self.record_count - other.record_count,
        }
    }
}

/// numeric(30, 0) as text.
fn integer(row: &Row, column: &str) -> i128 {
    row.get::<_, &str>(column).parse().expect("an i128 has 38 digits, the column 30 and no fraction")
}

fn facts(row: &Row) -> SimFacts {
    let cycle: Option<String> = row.get("cycle_id");
    let plan: Option<String> = row.get("plan");
    SimFacts {
        sim_id: row.get("sim_id"),
        imsi: row.get("imsi"),
        msisdn: row.get("msisdn"),
        status: row.get("status"),
        customer_id: row.get("customer_id"),
        device_name: row.get("device_name"),
        location_name: row.get("location_name"),
        tenant: row.get("tenant"),
        time_zone: row.get("time_zone"),
        rollup_zone: row.get("rollup_zone"),
        carrier: row.get("carrier"),
        mccmnc: row.get("mccmnc"),
        plan: plan.map(|name| PlanTerms {
            name,
            price_per_mb: row.get("price_per_mb"),
            currency: row.get("currency"),
            included_bytes: row.get("included_bytes"),
        }),
        cycle_day: row.get("cycle_day"),
        data_limit_bytes: row.get("data_limit_bytes"),
        percent_used: row.get("percent_used"),
        current_cycle: cycle.map(|id| CycleBounds {
            id,
            start: row.get("cycle_start"),
            end: row.get("cycle_end"),
            total_bytes: integer(row, "cycle_bytes"),
        }),
    }
}

fn records(row: &Row) -> SimRecords {
    SimRecords {
        stored: row.get("records"),
        without_owner: row.get("without_owner"),
        without_owner_bytes: integer(row, "without_owner_bytes"),
        pending: row.get("pending"),
        pending_bytes: integer(row, "pending_bytes"),
        pending_since: row.get("pending_since"),
        stamped_otherwise: row.get("stamped_otherwise"),
        latest_event_at: row.get("latest_event_at"),
        raw_records_since: row.get("raw_floor"),
    }
}

fn cycle(row: &Row) -> CycleCompared {
    CycleCompared {
        cycle_id: row.get("cycle_id"),
        start: row.get("cycle_start"),
        end: row.get("cycle_end"),
        is_current: row.get("is_current"),
        comparable: row.get("kept"),
        amounts: Comparison::of(row),
    }
}

fn month(row: &Row) -> MonthCompared {
    MonthCompared {
        tenant: row.get("tenant"),
        month: row.get("month"),
        amounts: Comparison::of(row),
        differing_days: row.get("differing_days"),
        first_differing_day: row.get("first_differing"),
        last_differing_day: row.get("last_differing"),
    }
}

fn parked(row: &Row) -> ParkedByReason {
    ParkedByReason {
        reason: row.get("reason"),
        entries: row.get("entries"),
        ids: row.get("ids"),
        last_seen_at: row.get("last_seen_at"),
    }
}

fn record(row: &Row) -> StoredRecord {
    StoredRecord {
        id: row.get("id"),
        record_id: row.get("record_id"),
        period_start: row.get("period_start"),
        period_end: row.get("period_end"),
        processed_at: row.get("processed_at"),
        total_bytes: row.get("total_bytes"),
        sms_count: row.get("sms_count"),
        voice_seconds: row.get("voice_seconds"),
        cycle_id: row.get("cycle_id"),
        mccmnc: row.get("mccmnc"),
        corrects: row.get("corrects"),
        pending: row.get("pending"),
    }
}
