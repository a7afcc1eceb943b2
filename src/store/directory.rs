//! What is known of SIMs: owners over time and bounds of cycles.
//!
//! Placing a record by two index probes in the database took a third of the write path. So an instance remembers what it
//! looked up. Owners and bounds change only under the exclusive side of the inventory lock and each change counts up
//! `inventory_version`; a batch reads that number under the shared side, and forgets everything when it moved.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use deadpool_postgres::Transaction;

use crate::domain::TenantId;

use super::batch::NewRecord;
use super::{Statement, StatementMode, StoreError, statement};

static FIND_OWNERS: Statement = statement!("find_owners", TEXT_ARRAY);
static FIND_CYCLES: Statement = statement!("find_cycles", TEXT_ARRAY);

/// SIMs that are remembered, about 250 bytes each; beyond that everything is forgotten and learnt anew.
const MAX_SIMS: usize = 200_000;

/// Where a record belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placement {
    pub(super) tenant: TenantId,
    /// `None` for a SIM that the sender's tenant never owned: to it the SIM is unknown.
    pub(super) owned: Option<Owned>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) sim_id: Arc<str>,
    pub(super) carrier_id: Option<i32>,
    pub(super) rate_plan_id: Option<i32>,
    pub(super) cycle_id: Arc<str>,
}

/// The cycle that holds a record is still to be made.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CycleMissing;

#[derive(Debug)]
struct Sim {
    sim_id: Arc<str>,
    /// Oldest first.
    owners: Vec<Owner>,
    /// Oldest first, without gap or overlap.
    cycles: Vec<Cycle>,
}

#[derive(Debug)]
struct Owner {
    /// `None` from the beginning of time.
    valid_from: Option<DateTime<Utc>>,
    tenant: TenantId,
    carrier_id: Option<i32>,
    rate_plan_id: Option<i32>,
}

#[derive(Debug)]
struct Cycle {
    cycle_id: Arc<str>,
    starts: DateTime<Utc>,
    ends: DateTime<Utc>,
}

/// Shared by the writers of an instance.
#[derive(Default)]
pub(super) struct SimDirectory {
    remembered: Mutex<Remembered>,
}

#[derive(Default)]
struct Remembered {
    version: i64,
    /// `None` for an ICCID that nobody owns.
    sims: HashMap<Box<str>, Option<Arc<Sim>>>,
}

impl SimDirectory {
    /// Places records, in their order. `version` was read in `tx` under the inventory lock.
    pub(super) async fn place(
        &self,
        tx: &Transaction<'_>,
        mode: StatementMode,
        version: i64,
        records: &[&NewRecord],
    ) -> Result<Result<Vec<Placement>, CycleMissing>, StoreError> {
        let mut sims: Vec<Option<Option<Arc<Sim>>>> = self.recall(version, records);
        let unknown: Vec<&str> = records
            .iter()
            .zip(&sims)
            .filter(|(_, sim)| sim.is_none())
            .map(|(new, _)| new.record.key.iccid.as_str())
            .collect();
        if !unknown.is_empty() {
            let found = load(tx, mode, &unknown).await?;
            for (sim, new) in sims.iter_mut().zip(records) {
                if sim.is_none() {
                    *sim = Some(found.get(new.record.key.iccid.as_str()).cloned());
                }
            }
            self.remember(version, &unknown, &found);
        }
        let placed: Result<Vec<_>, _> =
            records.iter().zip(sims).map(|(new, sim)| place(new, sim.flatten().as_deref())).collect();
        Ok(placed)
    }

    /// Forgets SIMs of which something was missing.
    pub(super) fn forget(&self, records: &[NewRecord]) {
        let mut remembered = self.lock();
        for new in records {
            remembered.sims.remove(new.record.key.iccid.as_str());
        }
    }

    fn recall(&self, version: i64, records: &[&NewRecord]) -> Vec<Option<Option<Arc<Sim>>>> {
        let mut remembered = self.lock();
        if remembered.version != version {
            remembered.version = version;
            remembered.sims.clear();
        }
        records.iter().map(|new| remembered.sims.get(new.record.key.iccid.as_str()).cloned()).collect()
    }

    fn remember(&self, version: i64, asked: &[&str], found: &HashMap<Box<str>, Arc<Sim>>) {
        let mut remembered = self.lock();
        // Another writer may have met a newer version meanwhile; what was found here is of the older one.
        if remembered.version != version {
            return;
        }
        if remembered.sims.len() + asked.len() > MAX_SIMS {
            remembered.sims.clear();
        }
        for iccid in asked {
            remembered.sims.insert((*iccid).into(), found.get(*iccid).cloned());
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Remembered> {
        // Nothing panics while it holds the lock; were it so, what is remembered would still be whole entries.
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn place(new: &NewRecord, sim: Option<&Sim>) -> Result<Placement, CycleMissing> {
    let sender = new.record.key.tenant;
    let at = new.record.period_start;
    let Some(sim) = sim.filter(|sim| sim.owners.iter().any(|owner| owner.tenant == sender)) else {
        return Ok(Placement { tenant: sender, owned: None });
    };
    let Some(owner) = sim.owners.iter().rev().find(|owner| owner.valid_from.is_none_or(|from| from <= at))
    else {
        return Ok(Placement { tenant: sender, owned: None });
    };
    let cycle =
        sim.cycles.iter().rev().find(|cycle| cycle.starts <= at && at < cycle.ends).ok_or(CycleMissing)?;
    Ok(Placement {
        tenant: owner.tenant,
        owned: Some(Owned {
            sim_id: sim.sim_id.clone(),
            carrier_id: owner.carrier_id,
            rate_plan_id: owner.rate_plan_id,
            cycle_id: cycle.cycle_id.clone(),
        }),
    })
}

async fn load(
    tx: &Transaction<'_>,
    mode: StatementMode,
    iccids: &[&str],
) -> Result<HashMap<Box<str>, Arc<Sim>>, StoreError> {
    let mut sims: HashMap<Box<str>, Sim> = HashMap::new();
    for row in FIND_OWNERS.rows(tx, mode, &[&iccids]).await? {
        let sim = sims.entry(row.get::<_, &str>("iccid").into()).or_insert_with(|| Sim {
            sim_id: row.get::<_, &str>("sim_id").into(),
            owners: Vec::with_capacity(1),
            cycles: Vec::new(),
        });
        sim.owners.push(Owner {
            valid_from: row.get("valid_from"),
            tenant: TenantId(row.get("tenant_id")),
            carrier_id: row.get("carrier_id"),
            rate_plan_id: row.get("rate_plan_id"),
        });
    }
    let sim_ids: Vec<&str> = sims.values().map(|sim| &*sim.sim_id).collect();
    let cycles = FIND_CYCLES.rows(tx, mode, &[&sim_ids]).await?;
    // Thousands of SIMs share a handful of cycle names.
    let mut names: HashMap<String, Arc<str>> = HashMap::new();
    for row in &cycles {
        let cycle_id: &str = row.get("cycle_id");
        let cycle_id = names.entry(cycle_id.into()).or_insert_with(|| cycle_id.into()).clone();
        if let Some(sim) = sims.get_mut(row.get::<_, &str>("iccid")) {
            sim.cycles.push(Cycle { cycle_id, starts: row.get("cycle_start"), ends: row.get("cycle_end") });
        }
    }
    Ok(sims.into_iter().map(|(iccid, sim)| (iccid, Arc::new(sim))).collect())
}
