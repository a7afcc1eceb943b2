//! Carries a history out on a real database and on the model.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use chrono::{DateTime, Utc};
use simbridge::domain::{Iccid, TenantId};
use simbridge::ingest::queue::Sender;
use simbridge::store::rollups::{Lock, RolledUp, ZoneMoved};
use simbridge::store::sim_moves::{Moved, SimMove};
use simbridge::store::sims::SimRow;

use crate::harness::PATIENCE;
use crate::harness::database::{TENANT, TestDatabase, sim};
use crate::harness::pipeline::{TestPipeline, sender, time, words};
use crate::harness::server::connect;

use super::expected::Expected;
use super::history::{Draft, History, Import, Move, NOW, Op, Undo, Work, ZONES};
use super::model::{Model, Record, Sent};
use super::tables;

const CARRIERS: [&str; 2] = ["Salt", "Sunrise"];

/// Name, price of 2^20 bytes in 10^-10, included bytes. Each tenant has all of them.
pub(super) const PLANS: [(&str, i128, i128); 3] =
    [("flat", 5_000_000_000, 0), ("pool", 12_345_678_901, 3 << 20), ("tiny", 1, 1)];

/// Operations between two looks at every invariant.
const BETWEEN_CHECKS: usize = 2;

/// A database that takes one history after the other.
pub(super) struct World {
    database: TestDatabase,
    pipeline: TestPipeline,
    pub(super) tenants: [TenantId; 2],
    pub(super) carriers: [i32; 2],
    pub(super) plans: [[i32; 3]; 2],
    model: Model,
}

pub(super) fn iccid(sim: usize) -> String {
    format!("894100000000000000{sim}")
}

impl World {
    pub(super) async fn new() -> Self {
        let database = TestDatabase::new().await;
        // Sessions of the program are in a zone of half hours: no hour and no day is theirs.
        database.run(&format!("ALTER DATABASE {} SET TimeZone = 'Asia/Kolkata'", database.name)).await;
        let tenants = [TENANT, database.tenant("other", "UTC").await];
        let mut carriers = [0; 2];
        for (id, name) in carriers.iter_mut().zip(CARRIERS) {
            let sql = "INSERT INTO carriers (name) VALUES ($1) RETURNING id";
            *id = database.client.query_one(sql, &[&name]).await.expect("a carrier").get(0);
        }
        let mut plans = [[0; 3]; 2];
        for (tenant, ids) in tenants.iter().zip(&mut plans) {
            for (id, (name, price, included)) in ids.iter_mut().zip(PLANS) {
                let sql = format!(
                    "INSERT INTO rate_plans (tenant_id, name, price_per_mb, included_bytes)
                     VALUES ($1, $2, {price} / 10000000000.0, {included}) RETURNING id"
                );
                *id = database.client.query_one(&sql, &[&tenant.0, &name]).await.expect("a plan").get(0);
            }
        }
        let pipeline = TestPipeline::start_at(&database.store, NOW);
        Self { database, pipeline, tenants, carriers, plans, model: Model::default() }
    }

    /// Everything that a history leaves is removed.
    async fn clear(&mut self, zones: [usize; 2]) {
        let tables = [
            "usage_records",
            "record_keys",
            "usage_cycles",
            "sim_ownership",
            "provisioned_sims",
            "rollup_markers",
            "quarantine",
            "sim_numbers",
            "sim_daily_usage",
            "sim_allowances",
            "hourly_usage",
            "daily_network_usage",
            "daily_usage",
            "usage_aggregations",
            "hourly_active_sims",
            "daily_active_sims",
            "monthly_active_sims",
        ];
        for (tenant, zone) in self.tenants.iter().zip(zones) {
            let sql = "UPDATE tenants SET time_zone = $2 WHERE id = $1";
            self.database.client.execute(sql, &[&tenant.0, &ZONES[zone]]).await.expect("a zone");
        }
        let deletes: String = tables.iter().map(|table| format!("DELETE FROM {table};")).collect();
        self.database.run(&format!("{deletes} DELETE FROM zone_changes;")).await;
        // The numbers of SIMs straddle the end of a row of the sets.
        self.database
            .run("INSERT INTO sim_numbers SELECT id, '0000000000', 2046 FROM tenants WHERE id IN (1, 2)")
            .await;
        self.model = Model::default();
    }

    /// Does everything and compares; panics where database and model differ.
    pub(super) async fn run(&mut self, history: &History) {
        self.clear(history.zones).await;
        for (n, op) in history.ops.iter().enumerate() {
            self.apply(op).await;
            if (n + 1) % BETWEEN_CHECKS == 0 {
                self.database.assert_reconciled().await;
            }
        }
        self.database.assert_reconciled().await;
        self.settle().await;
        self.compare().await;
        self.database.assert_reconciled().await;
    }

    async fn apply(&mut self, op: &Op) {
        match op {
            Op::Write(drafts) => self.write(drafts).await,
            Op::Import(import) => self.import(import).await,
            Op::Move(to) => self.move_sim(to).await,
            Op::ChangeZone { tenant, zone } => self.change_zone(*tenant, ZONES[*zone]).await,
            Op::Work(work) => self.work(*work).await,
            Op::Undone(work, undo) => self.work_undone(*work, *undo).await,
            Op::Settle => self.settle().await,
        }
    }

    async fn write(&mut self, drafts: &[Draft]) {
        let sent = self.model.send(drafts);
        for (n, tenant) in self.tenants.into_iter().enumerate() {
            let batch: Vec<&Sent> = sent.iter().filter(|sent| sent.record.sender == n).collect();
            if batch.is_empty() {
                continue;
            }
            let payload: Vec<String> = batch.iter().map(|sent| json(&sent.record)).collect();
            let by = Sender { tenant, ..sender(true) };
            let receipt = self.pipeline.send_as(by, None, format!("[{}]", payload.join(","))).await;
            let receipt = crate::harness::pipeline::decided(receipt).await;
            let expected: Vec<&str> = batch.iter().map(|sent| sent.expected).collect();
            assert_eq!(words(&receipt), expected, "{payload:#?}");
            for sent in batch.iter().filter(|sent| sent.expected == "stored") {
                self.model.accept(sent.record.clone());
            }
        }
    }

    async fn import(&mut self, import: &Import) {
        let own = self.model.import(import);
        let row = SimRow {
            carrier: import.carrier.map(|carrier| CARRIERS[carrier].into()),
            rate_plan: import.plan.map(|plan| PLANS[plan].0.into()),
            cycle_day: import.cycle_day,
            ..sim(&iccid(import.sim))
        };
        let store = &self.database.store;
        let done = store.import_sims(self.tenants[import.tenant], &[row], import.at).await;
        assert_eq!(done.expect("an import").foreign, u64::from(!own));
    }

    async fn move_sim(&mut self, to: &Move) {
        let known = self.model.move_sim(to);
        let sim_move = SimMove {
            iccid: Iccid::parse(&iccid(to.sim)).expect("an ICCID"),
            tenant: to.tenant.map(|tenant| self.tenants[tenant]),
            carrier: to.carrier.map(|carrier| CARRIERS[carrier].into()),
            rate_plan: to.plan.map(|plan| PLANS[plan].0.into()),
            from: to.from,
        };
        let moved = self.database.store.move_sim(&sim_move, time(NOW)).await.expect("a move");
        assert_eq!(matches!(moved, Moved::Done { .. }), known, "{moved:?}");
    }

    async fn change_zone(&self, tenant: usize, zone: &str) {
        let sql = "UPDATE tenants SET time_zone = $2 WHERE id = $1";
        if let Err(error) = self.database.client.execute(sql, &[&self.tenants[tenant].0, &zone]).await {
            let code = error.code().expect("the server's answer").code();
            assert_eq!(code, "55006", "only a change under way is in the way of another");
        }
    }

    async fn work(&self, work: Work) {
        let store = &self.database.store;
        match work {
            Work::RollUp { records } => {
                store.roll_up(records, PATIENCE, Lock::Wait).await.expect("a roll-up");
            }
            Work::MoveZone { sims } => {
                store.move_zone(sims, PATIENCE, Lock::Wait).await.expect("a move");
            }
            Work::Rebuild { tenant, first, last } => {
                store.rebuild_days(self.tenants[tenant], first, last, PATIENCE).await.expect("a rebuild");
            }
            Work::Refresh => self.database.run(&self.sql(work)).await,
        }
    }

    fn sql(&self, work: Work) -> String {
        match work {
            Work::RollUp { records } => format!("SELECT roll_up_chunk({records})"),
            Work::MoveZone { sims } => format!("SELECT move_zone_chunk({sims})"),
            Work::Rebuild { tenant, first, last } => {
                format!("SELECT rebuild_days({}, '{first}', '{last}')", self.tenants[tenant].0)
            }
            Work::Refresh => "SELECT aggregate_usage_to_daily()".into(),
        }
    }

    async fn work_undone(&self, work: Work, undo: Undo) {
        let sql = self.sql(work);
        match undo {
            Undo::Rollback => self.database.run(&format!("BEGIN; {sql}; ROLLBACK")).await,
            Undo::RollbackToSavepoint => {
                let undone =
                    format!("BEGIN; SAVEPOINT s; {sql}; ROLLBACK TO s; SELECT roll_up_chunk(1); COMMIT");
                self.database.run(&undone).await;
            }
            Undo::Crash => {
                let client = connect(&self.database.another_config()).await;
                client.batch_execute(&format!("BEGIN; {sql}")).await.expect("the work is done");
                drop(client);
            }
            Undo::Abandon { looks } => {
                let mut left = looks;
                let mut work = pin!(self.work(work));
                let abandoned = poll_fn(|context| match left.checked_sub(1) {
                    None => Poll::Ready(()),
                    Some(fewer) => {
                        left = fewer;
                        work.as_mut().poll(context)
                    }
                });
                abandoned.await;
            }
        }
    }

    async fn settle(&self) {
        let store = &self.database.store;
        let rolled = |done: Option<RolledUp>| done.expect("the lock was waited for").markers;
        while rolled(store.roll_up(1_000, PATIENCE, Lock::Wait).await.expect("a roll-up")) > 0 {}
        let moved = |done: Option<ZoneMoved>| done.expect("the lock was waited for").tenant;
        while moved(store.move_zone(1_000, PATIENCE, Lock::Wait).await.expect("a move")).is_some() {}
    }

    async fn compare(&self) {
        let expected = Expected::of(self, &self.model, &self.database).await;
        for (table, sql) in tables::ALL {
            let mut actual = self.database.rows(sql).await;
            actual.sort_unstable();
            let mut wanted = expected.rows(table);
            wanted.sort_unstable();
            let surplus: Vec<_> = actual.iter().filter(|row| !wanted.contains(row)).collect();
            let missing: Vec<_> = wanted.iter().filter(|row| !actual.contains(row)).collect();
            assert!(actual == wanted, "{table}: surplus {surplus:#?}, missing {missing:#?}");
        }
    }
}

fn json(record: &Record) -> String {
    let text = |at: DateTime<Utc>| at.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
    let [up, down, total, sms, voice] = record.amounts;
    let network = match record.mccmnc() {
        "" => String::new(),
        mccmnc => format!(r#","mccmnc":"{mccmnc}""#),
    };
    let corrects = record.corrects.as_ref().map_or(String::new(), |id| format!(r#","corrects":"{id}""#));
    format!(
        r#"{{"iccid":"{}","recordId":"{}","periodStart":"{}","periodEnd":"{}","usage":{{"dataUploadBytes":{up},"dataDownloadBytes":{down},"totalBytes":{total},"smsCount":{sms},"voiceSeconds":{voice}}}{network}{corrects}}}"#,
        iccid(record.sim),
        record.id,
        text(record.start),
        text(record.end),
    )
}
