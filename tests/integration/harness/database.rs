use std::sync::atomic::{AtomicUsize, Ordering};

use chrono::{DateTime, Utc};
use simbridge::domain::{Clock, Iccid, TenantId};
use simbridge::store::Store;
use simbridge::store::reconcile::Reconciliation;
use simbridge::store::rollups::Lock;
use simbridge::store::sims::{Imported, SimRow};
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use super::server::{TEMPLATE, TestServer, connect, store};

static NEXT: AtomicUsize = AtomicUsize::new(0);

/// Tenant 1 exists in every database.
pub(crate) const TENANT: TenantId = TenantId(1);

/// The time that tests take as now.
pub(crate) fn now() -> DateTime<Utc> {
    Clock::System.now()
}

/// A fresh database with the whole schema.
pub(crate) struct TestDatabase {
    pub(crate) name: String,
    pub(crate) store: Store,
    pub(crate) client: Client,
}

impl TestDatabase {
    pub(crate) async fn new() -> Self {
        Self::copy_of(TEMPLATE).await
    }

    /// A database with nothing in it.
    pub(crate) async fn empty() -> Self {
        Self::copy_of("template0").await
    }

    /// The same, of a login that is no superuser and may make roles.
    pub(crate) async fn empty_of(owner: &str, password: &str) -> Self {
        let admin = TestServer::shared().admin().await;
        let make = format!("CREATE ROLE {owner} LOGIN CREATEROLE PASSWORD '{password}'");
        admin.batch_execute(&make).await.expect("a name of its own");
        Self::copy_of(&format!("template0 OWNER {owner}")).await
    }

    async fn copy_of(template: &str) -> Self {
        let server = TestServer::shared();
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let copy = format!("CREATE DATABASE {name} TEMPLATE {template}");
        let admin = server.admin().await;
        // A template cannot be copied while another copy of it is being made.
        super::eventually("a copy of the template", async || admin.batch_execute(&copy).await.ok()).await;
        let store = store(server.serve_config_for(&name));
        Self { client: connect(&server.config_for(&name)).await, store, name }
    }

    pub(crate) fn url(&self) -> String {
        TestServer::shared().url_for(&self.name)
    }

    /// Runs statements, for preparations.
    pub(crate) async fn run(&self, sql: &str) {
        self.client.batch_execute(sql).await.expect("the statement is valid");
    }

    /// The only row's first column, as text.
    pub(crate) async fn text(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> String {
        let wrapped = format!("SELECT (SELECT q FROM ({sql}) AS t (q))::text");
        let row = self.client.query_one(&wrapped, params).await.expect("the query is valid");
        row.get::<_, Option<String>>(0).unwrap_or_else(|| "NULL".into())
    }

    /// The number that a query gives.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        self.text(sql, &[]).await.parse().expect("a number")
    }

    /// Every row as text, columns joined with |.
    pub(crate) async fn rows(&self, sql: &str) -> Vec<String> {
        let messages = self.client.simple_query(sql).await.expect("the query is valid");
        messages
            .iter()
            .filter_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => Some(row),
                _ => None,
            })
            .map(|row| (0..row.len()).map(|n| row.get(n).unwrap_or("NULL")).collect::<Vec<_>>().join("|"))
            .collect()
    }

    /// A second instance's way to this database.
    pub(crate) fn another_store(&self) -> Store {
        store(TestServer::shared().serve_config_for(&self.name))
    }

    /// The owner of the tables, who may do everything here.
    pub(crate) fn owner(&self) -> Store {
        store(self.another_config())
    }

    /// As the owner of the tables.
    pub(crate) fn another_config(&self) -> tokio_postgres::Config {
        TestServer::shared().config_for(&self.name)
    }

    pub(crate) async fn import_at(&self, at: &str, rows: &[SimRow]) -> Imported {
        let at = super::pipeline::time(at);
        self.store.import_sims(TENANT, rows, at).await.expect("the import succeeds")
    }

    /// A further tenant.
    pub(crate) async fn tenant(&self, name: &str, time_zone: &str) -> TenantId {
        let sql = "INSERT INTO tenants (name, time_zone) VALUES ($1, $2) RETURNING id";
        let row = self.client.query_one(sql, &[&name, &time_zone]).await.expect("a tenant");
        TenantId(row.get(0))
    }

    pub(crate) async fn import(&self, rows: &[SimRow]) -> Imported {
        self.store.import_sims(TENANT, rows, now()).await.expect("the import succeeds")
    }

    /// Rolls up until nothing waits, a few records at a time; returns the records.
    pub(crate) async fn roll_up(&self) -> i64 {
        let mut records = 0;
        loop {
            let done = self.store.roll_up(7, super::PATIENCE, Lock::Wait).await.expect("a roll-up");
            let done = done.expect("the lock was waited for");
            if done.markers == 0 {
                return records;
            }
            records += done.records;
        }
    }

    /// Moves days of tenants whose time zone changed until all are where they belong.
    pub(crate) async fn move_zones(&self) {
        while self
            .store
            .move_zone(3, super::PATIENCE, Lock::Wait)
            .await
            .expect("a move")
            .is_some_and(|moved| moved.tenant.is_some())
        {}
    }

    /// All invariants hold; otherwise the test fails with the violations.
    pub(crate) async fn assert_reconciled(&self) -> Reconciliation {
        let reconciliation = self.store.reconcile().await.expect("reconcile runs");
        let violations: Vec<_> =
            reconciliation.results.iter().filter(|result| result.violations > 0).collect();
        assert!(violations.is_empty(), "{violations:#?}");
        reconciliation
    }
}

/// A SIM that states nothing but its ICCID.
pub(crate) fn sim(iccid: &str) -> SimRow {
    SimRow {
        iccid: Iccid::parse(iccid).expect("an ICCID"),
        imsi: None,
        msisdn: None,
        carrier: None,
        mccmnc: None,
        rate_plan: None,
        price_per_mb: None,
        included_bytes: None,
        currency: None,
        data_limit_bytes: None,
        customer_id: None,
        status: None,
        device_name: None,
        latitude: None,
        longitude: None,
        location_name: None,
        cycle_day: None,
    }
}
