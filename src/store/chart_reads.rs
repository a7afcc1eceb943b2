//! Charts may be read from a standby of the database. Nothing that it shows is older than what the database itself would have
//! shown (ADR 0027).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::domain::{Clock, TenantId};

use super::consumption::Standing;
use super::{Store, StoreError};

/// A standby that did not answer is left alone for so long: every reader would wait for it.
const LEFT_ALONE: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct From {
    from: &'static str,
}

/// Where charts were read.
#[derive(Clone, Debug, Default)]
pub struct ChartReadMetrics {
    reads: Family<From, Counter>,
}

impl ChartReadMetrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "chart_reads",
            "Charts read from the standby, or from the database because the standby is behind or away",
            self.reads.clone(),
        );
    }

    fn read(&self, from: &'static str) {
        self.reads.get_or_create(&From { from }).inc();
    }
}

/// Where charts are read.
#[derive(Clone)]
pub(crate) struct ChartReads {
    primary: Store,
    replica: Option<Arc<Replica>>,
    clock: Clock,
}

struct Replica {
    store: Store,
    metrics: ChartReadMetrics,
    left_alone_until: Mutex<Option<Instant>>,
}

impl ChartReads {
    pub(crate) fn new(
        primary: Store,
        replica: Option<Store>,
        clock: Clock,
        metrics: ChartReadMetrics,
    ) -> Self {
        let replica =
            replica.map(|store| Arc::new(Replica { store, metrics, left_alone_until: Mutex::default() }));
        Self { primary, replica, clock }
    }

    /// What `query` gives. It is asked of the standby if that has everything that `standing`, which the database gave, is made of;
    /// else, or when the standby fails, of the database.
    ///
    /// # Errors
    /// Those of the query at the database.
    pub(crate) async fn read<T, Answer>(
        &self,
        tenant: TenantId,
        standing: &Standing,
        query: impl Fn(Store) -> Answer,
    ) -> Result<T, StoreError>
    where
        Answer: Future<Output = Result<T, StoreError>>,
    {
        let Some(replica) = self.replica.as_deref().filter(|replica| !replica.is_left_alone()) else {
            if let Some(replica) = &self.replica {
                replica.metrics.read("database_standby_away");
            }
            return query(self.primary.clone()).await;
        };
        match replica.read(tenant, standing, self.clock, &query).await {
            Ok(Some(answer)) => {
                replica.metrics.read("standby");
                replica.is_well();
                Ok(answer)
            }
            Ok(None) => {
                replica.metrics.read("database_standby_behind");
                replica.is_well();
                query(self.primary.clone()).await
            }
            Err(problem) => {
                replica.leave_alone(&problem);
                replica.metrics.read("database_standby_away");
                query(self.primary.clone()).await
            }
        }
    }
}

impl Replica {
    /// `None` when it is behind, or cannot make this chart in time.
    async fn read<T, Answer: Future<Output = Result<T, StoreError>>>(
        &self,
        tenant: TenantId,
        standing: &Standing,
        clock: Clock,
        query: &impl Fn(Store) -> Answer,
    ) -> Result<Option<T>, StoreError> {
        // A new connection may take longer than whoever looks at a chart should wait.
        match tokio::time::timeout(self.store.timeout, self.store.client()).await {
            Ok(connection) => drop(connection?),
            Err(_) => return Err(StoreError::Timeout(self.store.timeout.as_secs())),
        }
        match self.store.consumption_standing(tenant, clock.now()).await {
            Ok(reached) if reached == *standing => {}
            // It has not even heard of the tenant.
            Ok(_) | Err(StoreError::Config(_)) => return Ok(None),
            Err(problem) => return Err(problem),
        }
        match query(self.store.clone()).await {
            // What it has to replay was in the way of the query.
            Err(problem) if problem.is_contention() => Ok(None),
            // It answered before, so this chart is dear; that is no reason to keep the others from it.
            Err(StoreError::Timeout(_)) => Ok(None),
            answer => answer.map(Some),
        }
    }

    fn is_left_alone(&self) -> bool {
        let until = self.left_alone_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    fn leave_alone(&self, problem: &StoreError) {
        let mut until = self.left_alone_until.lock().unwrap_or_else(PoisonError::into_inner);
        if until.replace(Instant::now() + LEFT_ALONE).is_none() {
            warn!(error = %problem, "the standby does not answer; charts are read from the database");
        }
    }

    fn is_well(&self) {
        let mut until = self.left_alone_until.lock().unwrap_or_else(PoisonError::into_inner);
        if until.take().is_some() {
            info!("the standby answers again");
        }
    }
}
