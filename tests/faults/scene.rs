//! The processes of a row and the links between them: fleet, link, program, link, PostgreSQL.

use std::sync::Arc;

use simulator::fleet::Fleet;
use simulator::ledger::{Durability, RecordKey};

use crate::harness::bridge::{BridgeOptions, BridgeProcess};
use crate::harness::durable::DurableServer;
use crate::harness::fleet::{FleetOptions, TestFleet};
use crate::link::{Link, Place};
use crate::oracle;

pub(crate) struct Scene {
    pub(crate) server: DurableServer,
    /// Between the program and PostgreSQL.
    pub(crate) database: Link,
    /// Between the fleet and the program.
    pub(crate) devices: Link,
    pub(crate) options: BridgeOptions,
    pub(crate) load: FleetOptions,
    sims: Arc<Fleet>,
}

/// A fleet whose ledger is on the disk before each PUBLISH and after each acknowledgement.
fn load() -> FleetOptions {
    FleetOptions { sims: 100, rate: Some(800.0), durability: Durability::Machine, ..FleetOptions::default() }
}

impl Scene {
    /// A server with fsync of its own, with the fleet's SIMs.
    pub(crate) async fn set() -> Self {
        Self::set_on(DurableServer::start().await).await
    }

    pub(crate) async fn set_on(server: DurableServer) -> Self {
        let load = load();
        let sims = TestFleet::provision(&server.store(), &load).await;
        let database = Link::to(Place::Postgres(server.socket())).await;
        // Nobody listens at port 0: it leads nowhere until a program runs.
        let devices = Link::to(Place::Tcp(([127, 0, 0, 1], 0).into())).await;
        let mut options = BridgeOptions::new(server.url_through(database.address));
        // Outages are to be noticed within a test's time.
        options.set("database.statement_timeout_ms", "2000").set("rollup.run_limit_seconds", "10");
        Self { server, database, devices, options, load, sims }
    }

    /// The program, and the fleet's way to it.
    pub(crate) async fn bridge(&self) -> BridgeProcess {
        let bridge = BridgeProcess::start(&self.options).await;
        self.devices.lead_to(Place::Tcp(bridge.mqtt));
        bridge
    }

    /// Begins to publish, through the link.
    pub(crate) fn fleet(&self) -> TestFleet {
        TestFleet::start(self.devices.address, self.sims.clone(), &self.load)
    }

    /// Waits until the fleet has every acknowledgement, asks the oracle, and ends the program.
    pub(crate) async fn prove(&self, fleet: TestFleet, bridge: BridgeProcess) {
        self.prove_with(fleet, bridge, &[]).await;
    }

    /// The same with records, of this many bytes, that were sent beside the fleet's and may be stored.
    pub(crate) async fn prove_with(
        &self,
        fleet: TestFleet,
        bridge: BridgeProcess,
        others: &[(RecordKey, u64)],
    ) {
        let (_, mut ledger) = fleet.finish().await;
        ledger.sent.extend(others.iter().map(|(key, _)| key.clone()));
        ledger.total_bytes.extend(others.iter().cloned());
        oracle::assert_proven(&ledger, &self.server.store(), &self.server.client().await).await;
        oracle::assert_balanced(&bridge).await;
        assert_eq!(bridge.terminate().await, Some(0));
    }
}
