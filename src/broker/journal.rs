//! What is to be written down, in the order in which it changed, each thing once.
//!
//! Nobody takes anything out while the database is away, so what a table never had leaves no trace here when it ends. There are
//! then never more entries than things that live and rows that the table has.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Where a record stands in its journal.
#[derive(Default)]
pub(super) struct Place {
    is_listed: AtomicBool,
    /// Changes under the journal's lock only, as do those below.
    at: AtomicI64,
    /// The table may have something of it: it was taken out to be written, or read from there.
    may_be_stored: AtomicBool,
    /// Nothing changes any more.
    has_ended: AtomicBool,
}

/// What stands in a journal.
pub(super) trait Entry {
    fn place(&self) -> &Place;
}

/// Records that changed.
pub(super) struct Journal<R> {
    list: Mutex<List<R>>,
    /// Somebody writes them down.
    is_open: AtomicBool,
    /// The table has more than was read from it, so nobody can tell what it never had.
    has_unread: AtomicBool,
}

struct List<R> {
    records: BTreeMap<i64, Arc<R>>,
    first: i64,
    next: i64,
}

impl<R> Default for Journal<R> {
    fn default() -> Self {
        let list = List { records: BTreeMap::new(), first: 0, next: 0 };
        Self { list: Mutex::new(list), is_open: AtomicBool::default(), has_unread: AtomicBool::default() }
    }
}

impl<R: Entry> List<R> {
    /// At its end, or before everything else.
    fn add(&mut self, record: Arc<R>, at_the_end: bool) {
        if record.place().is_listed.swap(true, Ordering::AcqRel) {
            return;
        }
        let at = if at_the_end { self.next } else { self.first - 1 };
        (self.first, self.next) = (self.first.min(at), self.next.max(at + 1));
        record.place().at.store(at, Ordering::Release);
        self.records.insert(at, record);
    }
}

impl<R: Entry> Journal<R> {
    fn lock(&self) -> MutexGuard<'_, List<R>> {
        // Records are put in and taken out whole.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn open(&self) {
        self.is_open.store(true, Ordering::Release);
    }

    pub(super) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().records.len()
    }

    /// Has a record written down soon.
    pub(super) fn note(&self, record: &Arc<R>) {
        // Mostly it is listed already: every message for a client that is away comes here.
        if record.place().is_listed.load(Ordering::Acquire) {
            return;
        }
        let mut list = self.lock();
        if !record.place().has_ended.load(Ordering::Acquire) {
            list.add(record.clone(), true);
        }
    }

    /// It was read from the table.
    pub(super) fn is_stored(&self, record: &R) {
        record.place().may_be_stored.store(true, Ordering::Release);
    }

    /// Something in the table was not taken over.
    pub(super) fn leaves_unread(&self) {
        self.has_unread.store(true, Ordering::Release);
    }

    /// It has ended. Only if the table may have something of it, somebody has to be told.
    pub(super) fn end(&self, record: &Arc<R>) {
        let mut list = self.lock();
        let place = record.place();
        place.has_ended.store(true, Ordering::Release);
        if place.may_be_stored.load(Ordering::Acquire) || self.has_unread.load(Ordering::Acquire) {
            list.add(record.clone(), true);
        } else if place.is_listed.swap(false, Ordering::AcqRel) {
            list.records.remove(&place.at.load(Ordering::Acquire));
        }
    }

    /// As if they had not been taken: the end of a session comes before the beginning of the next one of that client.
    pub(super) fn give_back(&self, records: Vec<Arc<R>>) {
        let mut list = self.lock();
        for record in records.into_iter().rev() {
            list.add(record, false);
        }
    }

    /// Takes out the record that changed first.
    pub(super) fn next(&self) -> Option<Arc<R>> {
        let mut list = self.lock();
        let (_, record) = list.records.pop_first()?;
        // Before it is read: what changes from now on is for the next time.
        record.place().is_listed.store(false, Ordering::Release);
        record.place().may_be_stored.store(true, Ordering::Release);
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Named(&'static str, Place);

    impl Entry for Named {
        fn place(&self) -> &Place {
            &self.1
        }
    }

    fn named(name: &'static str) -> Arc<Named> {
        Arc::new(Named(name, Place::default()))
    }

    fn names(journal: &Journal<Named>) -> Vec<&'static str> {
        std::iter::from_fn(|| journal.next()).map(|record| record.0).collect()
    }

    /// Catches a journal that grows with everything that comes and goes while nobody takes anything out (`end` that notes whatever
    /// ends).
    #[test]
    fn what_the_table_never_had_leaves_no_trace() {
        let journal = Journal::default();
        for _ in 0..1000 {
            let record = named("short");
            journal.note(&record);
            journal.end(&record);
            journal.note(&record);
        }
        assert_eq!(journal.len(), 0);
    }

    /// Catches a row that stays for ever: of something that ended while it was being written, and of something that was read from
    /// the table and never changed.
    #[test]
    fn what_the_table_may_have_is_listed_when_it_ends() {
        let journal = Journal::default();
        let (written, read) = (named("written"), named("read"));
        journal.note(&written);
        let taken = journal.next().unwrap();
        journal.end(&written);
        journal.is_stored(&read);
        journal.end(&read);
        journal.give_back(vec![taken]);
        assert_eq!(names(&journal), ["written", "read"]);
        journal.note(&read);
        assert_eq!(journal.len(), 0, "nothing changes any more");
    }

    /// Catches a session that comes back after a restart although its client has begun a new one: there was no room to take it over.
    #[test]
    fn what_the_table_has_unread_is_deleted_when_its_successor_ends() {
        let journal = Journal::default();
        journal.leaves_unread();
        journal.end(&named("successor"));
        assert_eq!(names(&journal), ["successor"]);
    }

    /// Catches the end of a session that overtakes the beginning of the next one.
    #[test]
    fn what_is_given_back_comes_first_and_in_its_order() {
        let journal = Journal::default();
        let records = ["a", "b", "c"].map(named);
        records.iter().for_each(|record| journal.note(record));
        let taken = vec![journal.next().unwrap(), journal.next().unwrap()];
        journal.give_back(taken);
        journal.note(&records[0]);
        assert_eq!(names(&journal), ["a", "b", "c"]);
    }
}
