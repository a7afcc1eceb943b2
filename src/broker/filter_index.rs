//! Which filters anyone subscribes to now. Usage comes at tens of thousands of messages a second and mostly nobody
//! listens, so a message goes to the router only when this index finds it a taker.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::domain::TenantId;

/// Names a filter towards the router. Numbers of unused filters are given out again, which keeps the number of logs
/// in the router at the number of filters in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct FilterSlot(pub(super) u32);

#[derive(Debug, Default)]
pub(super) struct FilterIndex {
    /// Filters in use; lets a publisher skip the lock when there are none.
    in_use: AtomicUsize,
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    tenants: HashMap<TenantId, Node>,
    free: Vec<u32>,
    next: u32,
}

#[derive(Debug, Default)]
struct Node {
    children: HashMap<Box<str>, Node>,
    /// The filter that ends here, and how many subscriptions it has.
    filter: Option<(FilterSlot, usize)>,
}

impl Node {
    fn is_unused(&self) -> bool {
        self.filter.is_none() && self.children.is_empty()
    }

    /// Recursion is bounded: filters are accepted only up to `max_topic_levels`.
    fn remove(&mut self, mut levels: std::str::Split<'_, char>) -> Option<FilterSlot> {
        let Some(level) = levels.next() else {
            let (slot, count) = self.filter.as_mut()?;
            *count -= 1;
            let freed = (*count == 0).then_some(*slot);
            if freed.is_some() {
                self.filter = None;
            }
            return freed;
        };
        let child = self.children.get_mut(level)?;
        let freed = child.remove(levels);
        if child.is_unused() {
            self.children.remove(level);
        }
        freed
    }

    fn collect(&self, mut levels: std::str::Split<'_, char>, dollar: bool, found: &mut Vec<FilterSlot>) {
        if let Some(rest) = self.children.get("#").filter(|_| !dollar) {
            found.extend(rest.filter.map(|(slot, _)| slot));
        }
        let Some(level) = levels.next() else {
            found.extend(self.filter.map(|(slot, _)| slot));
            return;
        };
        if let Some(child) = self.children.get(level) {
            child.collect(levels.clone(), false, found);
        }
        if let Some(child) = self.children.get("+").filter(|_| !dollar) {
            child.collect(levels, false, found);
        }
    }
}

/// A subscription's share in a filter, given back when it is dropped.
#[derive(Debug)]
pub(super) struct FilterHold {
    index: Arc<FilterIndex>,
    tenant: TenantId,
    filter: Arc<str>,
    slot: FilterSlot,
}

impl FilterHold {
    pub(super) fn slot(&self) -> FilterSlot {
        self.slot
    }
}

impl Drop for FilterHold {
    fn drop(&mut self) {
        self.index.remove(self.tenant, &self.filter);
    }
}

impl FilterIndex {
    pub(super) fn hold(self: &Arc<Self>, tenant: TenantId, filter: Arc<str>) -> FilterHold {
        let slot = self.add(tenant, &filter);
        FilterHold { index: self.clone(), tenant, filter, slot }
    }

    /// Counts one more subscription of `filter`.
    fn add(&self, tenant: TenantId, filter: &str) -> FilterSlot {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let Inner { tenants, free, next } = &mut *inner;
        let mut node = tenants.entry(tenant).or_default();
        for level in filter.split('/') {
            node = node.children.entry(level.into()).or_default();
        }
        let (slot, count) = node.filter.get_or_insert_with(|| {
            self.in_use.fetch_add(1, Ordering::Release);
            let number = free.pop().unwrap_or_else(|| {
                *next += 1;
                *next
            });
            (FilterSlot(number), 0)
        });
        *count += 1;
        *slot
    }

    /// Counts one less.
    fn remove(&self, tenant: TenantId, filter: &str) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let Inner { tenants, free, .. } = &mut *inner;
        let Some(root) = tenants.get_mut(&tenant) else { return };
        if let Some(slot) = root.remove(filter.split('/')) {
            free.push(slot.0);
            self.in_use.fetch_sub(1, Ordering::Release);
        }
        if root.is_unused() {
            tenants.remove(&tenant);
        }
    }

    /// How many numbers the router has ever heard of.
    #[cfg(test)]
    pub(super) fn numbers_given(&self) -> u32 {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).next
    }

    /// Tenants with a filter whose first level is `level`, wildcards not counted.
    pub(super) fn tenants_below(&self, level: &str) -> Vec<TenantId> {
        if self.in_use.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let below = inner.tenants.iter().filter(|(_, root)| root.children.contains_key(level));
        below.map(|(tenant, _)| *tenant).collect()
    }

    /// Filters that `topic` matches.
    pub(super) fn matching(&self, tenant: TenantId, topic: &str) -> Vec<FilterSlot> {
        let mut found = Vec::new();
        if self.in_use.load(Ordering::Acquire) > 0 {
            let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(root) = inner.tenants.get(&tenant) {
                root.collect(topic.split('/'), topic.starts_with('$'), &mut found);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::super::topic;
    use super::*;

    const TENANT: TenantId = TenantId(1);

    #[test]
    fn the_index_finds_what_the_standard_says() {
        let filters = ["#", "+", "a", "a/#", "a/+", "a/b", "+/b", "/", "/+", "a/+/c", "$x/#", "é/#"];
        let index = FilterIndex::default();
        let slots: Vec<_> = filters.iter().map(|f| index.add(TENANT, f)).collect();
        for name in ["a", "a/b", "a/b/c", "/", "/a", "b", "$x/y", "$x", "é/x", "a//c"] {
            let mut found = index.matching(TENANT, name);
            found.sort();
            let wanted: Vec<_> = filters
                .iter()
                .zip(&slots)
                .filter(|(f, _)| topic::matches(name, f))
                .map(|(_, s)| *s)
                .collect();
            assert_eq!(found, wanted, "{name}");
        }
        assert_eq!(index.matching(TenantId(2), "a"), []);
    }

    #[test]
    fn a_filter_lasts_as_long_as_it_has_subscriptions_and_its_number_is_used_again() {
        let index = FilterIndex::default();
        let first = index.add(TENANT, "a/b");
        assert_eq!(index.add(TENANT, "a/b"), first);
        index.remove(TENANT, "a/b");
        assert_eq!(index.matching(TENANT, "a/b"), [first]);
        index.remove(TENANT, "a/b");
        assert_eq!(index.matching(TENANT, "a/b"), []);
        assert_eq!(index.add(TENANT, "c"), first);
        index.remove(TENANT, "c");
        assert!(index.inner.read().unwrap().tenants.is_empty());
    }
}
