//! Messages of one connection that are not acknowledged yet, in the order of their arrival.
//!
//! Writers commit in any order; MQTT wants acknowledgements in the order of the messages (4.6.0), so each waits for those
//! before it.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::wire::PendingAck;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// Number of the first slot.
    first: u64,
    slots: VecDeque<Slot>,
}

#[derive(Debug)]
struct Slot {
    answer: PendingAck,
    received: Instant,
    committed: bool,
}

impl Window {
    /// Returns the number by which the commit is told.
    pub(super) fn push(&mut self, answer: PendingAck, received: Instant) -> u64 {
        self.slots.push_back(Slot { answer, received, committed: false });
        self.first + self.slots.len() as u64 - 1
    }

    /// The message with this number is committed.
    pub(super) fn committed(&mut self, number: u64) {
        let slot =
            number.checked_sub(self.first).and_then(|at| self.slots.get_mut(usize::try_from(at).ok()?));
        if let Some(slot) = slot {
            slot.committed = true;
        }
    }

    /// The next answer that is due; [`released`](Self::released) when it is on its way.
    pub(super) fn due(&self) -> Option<PendingAck> {
        self.slots.front().filter(|slot| slot.committed).map(|slot| slot.answer)
    }

    pub(super) fn released(&mut self) {
        self.slots.pop_front();
        self.first += 1;
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// When the oldest unacknowledged message came.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.slots.front().map(|slot| slot.received)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(pkid: u16) -> PendingAck {
        PendingAck { pkid, exactly_once: false }
    }

    #[test]
    fn answers_leave_in_the_order_of_the_messages() {
        let mut window = Window::default();
        let numbers: Vec<u64> = (7..10).map(|pkid| window.push(answer(pkid), Instant::now())).collect();
        window.committed(numbers[2]);
        window.committed(numbers[1]);
        assert_eq!(window.due(), None);
        window.committed(numbers[0]);
        let mut left = Vec::new();
        while let Some(answer) = window.due() {
            left.push(answer.pkid);
            window.released();
        }
        assert_eq!(left, [7, 8, 9]);
        assert!(window.is_empty());
        // Told twice, or of a message that is gone.
        window.committed(numbers[0]);
        window.committed(99);
        let next = window.push(answer(7), Instant::now());
        assert_eq!((next, window.due()), (3, None));
    }
}
