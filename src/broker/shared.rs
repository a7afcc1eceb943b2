//! Shared subscriptions (MQTT 5, 4.8.2): one link to the router for each group. Members with room wait for the next message in a
//! queue, so each gets its turn; one that does not acknowledge, or does not read, does not wait, and holds nobody up.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;
use std::time::Duration;

use rumqttd::protocol::QoS;
use tokio::sync::{Notify, OnceCell};

use crate::domain::TenantId;

use super::Hub;
use super::fanout::FanoutError;
use super::filter_index::FilterHold;
use super::link::Link;
use super::publication::Publication;
use super::session::Match;
use super::topic::TopicFilter;

/// A router that is being replaced is asked again so much later.
const RELINK_PAUSE: Duration = Duration::from_millis(200);

/// A group belongs to its tenant; the same name with another filter is another group (MQTT 5, 4.8.2).
type GroupKey = (TenantId, Arc<str>, Arc<str>);

/// Groups that have members, connected or not.
#[derive(Default)]
pub(super) struct SharedGroups {
    groups: Mutex<HashMap<GroupKey, Weak<SharedGroup>>>,
}

impl SharedGroups {
    fn lock(&self) -> MutexGuard<'_, HashMap<GroupKey, Weak<SharedGroup>>> {
        // Entries are inserted and removed whole.
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(
        self: &Arc<Self>,
        hub: &Hub,
        tenant: TenantId,
        name: &Arc<str>,
        filter: &TopicFilter,
    ) -> Arc<SharedGroup> {
        let key = (tenant, name.clone(), filter.plain.clone());
        let mut groups = self.lock();
        if let Some(group) = groups.get(&key).and_then(Weak::upgrade) {
            return group;
        }
        let group = Arc::new(SharedGroup {
            hold: hub.filters.hold(tenant, filter.plain.clone()),
            key: key.clone(),
            filter: filter.clone(),
            opened: OnceCell::new(),
            link: tokio::sync::Mutex::new(None),
            returned: Mutex::default(),
            something_returned: Notify::new(),
            groups: self.clone(),
        });
        groups.insert(key, Arc::downgrade(&group));
        group
    }

    /// The group of a shared filter, subscribed to it.
    pub(super) async fn join(
        self: &Arc<Self>,
        hub: &Hub,
        tenant: TenantId,
        name: &Arc<str>,
        filter: &TopicFilter,
    ) -> Result<Arc<SharedGroup>, FanoutError> {
        let group = self.get(hub, tenant, name, filter);
        // Whoever comes second waits here: its SUBACK means that the group hears what is published from now on.
        group
            .opened
            .get_or_try_init(async || {
                let link = group.open(hub).await?;
                *group.link.lock().await = Some(link);
                Ok(())
            })
            .await?;
        Ok(group)
    }
}

/// Those who share what is published on one filter.
pub(super) struct SharedGroup {
    key: GroupKey,
    filter: TopicFilter,
    hold: FilterHold,
    opened: OnceCell<()>,
    /// Whoever holds it gets the next message; the others wait in the order in which they came.
    link: tokio::sync::Mutex<Option<Link>>,
    /// Messages of members whose session ended before they had them.
    returned: Mutex<VecDeque<Publication>>,
    something_returned: Notify,
    groups: Arc<SharedGroups>,
}

impl fmt::Debug for SharedGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedGroup").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Drop for SharedGroup {
    fn drop(&mut self) {
        let mut groups = self.groups.lock();
        // Somebody may have made it anew meanwhile.
        if groups.get(&self.key).is_some_and(|group| group.strong_count() == 0) {
            groups.remove(&self.key);
        }
    }
}

impl SharedGroup {
    async fn open(&self, hub: &Hub) -> Result<Link, FanoutError> {
        let mut link = hub.fanout.open().await?;
        link.subscribe(self.hold.slot()).await.map_err(|_| FanoutError::Unavailable)?;
        Ok(link)
    }

    fn take_returned(&self) -> Option<Publication> {
        self.returned.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Takes a message back that its member will not have.
    fn give_back(&self, publication: Publication) {
        self.returned.lock().unwrap_or_else(PoisonError::into_inner).push_back(publication);
        // The one member that holds the link is woken; the permit is kept when there is none.
        self.something_returned.notify_one();
    }

    /// The next message for the member that asks. Cancel-safe.
    async fn next(&self, hub: &Hub) -> Publication {
        let mut held = self.link.lock().await;
        loop {
            if let Some(publication) = self.take_returned() {
                return publication;
            }
            let current = *hub.fanout.generation().borrow();
            let link = match held.take() {
                Some(link) if link.generation() == current => held.insert(link),
                // The router died and took the link along.
                _ => match self.open(hub).await {
                    Ok(link) => held.insert(link),
                    Err(_) => {
                        tokio::time::sleep(RELINK_PAUSE).await;
                        continue;
                    }
                },
            };
            let opened = tokio::select! {
                opened = link.next() => opened,
                () = self.something_returned.notified() => continue,
            };
            let missed = link.take_missed();
            if missed > 0 {
                hub.metrics.dropped("log_overwritten", missed);
            }
            let Ok(opened) = opened else {
                *held = None;
                continue;
            };
            // The filter's number may have been another one's when this was published.
            let publication = opened.publication;
            if opened.slot == self.hold.slot()
                && publication.tenant == self.key.0
                && self.filter.matches(&publication.topic)
            {
                return publication;
            }
        }
    }
}

/// A session's part in a group.
#[derive(Debug)]
pub(super) struct SharedSubscription {
    pub(super) filter: TopicFilter,
    pub(super) group: Arc<SharedGroup>,
    pub(super) qos: QoS,
    pub(super) retain_as_published: bool,
    pub(super) identifier: Option<usize>,
}

impl SharedSubscription {
    fn matched(&self, publication: &Publication) -> Match {
        Match {
            qos: self.qos,
            retain: publication.retain && self.retain_as_published,
            identifiers: self.identifier.into_iter().collect(),
            share: Some(Share(Arc::downgrade(&self.group))),
        }
    }
}

/// Where a delivery goes back to when its session ends before the client has it.
#[derive(Clone, Debug)]
pub(super) struct Share(Weak<SharedGroup>);

impl Share {
    pub(super) fn give_back(&self, publication: Publication) {
        if let Some(group) = self.0.upgrade() {
            group.give_back(publication);
        }
    }
}

/// The next message of any of a session's groups. Cancel-safe.
pub(super) async fn next_shared(hub: &Hub, shared: &[SharedSubscription]) -> (Publication, Match) {
    let mut waiting: Vec<Pin<Box<dyn Future<Output = Publication> + Send + '_>>> =
        shared.iter().map(|subscription| Box::pin(subscription.group.next(hub)) as _).collect();
    poll_fn(|context| {
        for (subscription, next) in shared.iter().zip(&mut waiting) {
            if let Poll::Ready(publication) = next.as_mut().poll(context) {
                let matched = subscription.matched(&publication);
                return Poll::Ready((publication, matched));
            }
        }
        Poll::Pending
    })
    .await
}
