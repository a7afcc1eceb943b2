use std::collections::{BTreeMap, HashMap, VecDeque};

/// Which acknowledgement belongs to which message on one connection.
///
/// The event loop takes requests in order and reports the packet id that each one got, and only the packet id comes
/// back in the acknowledgement: so a queue of what was submitted leads from the first report to the message, and a map
/// from the second. An acknowledgement that fits no message counts for nothing.
pub(crate) struct Window<M> {
    /// Not finished yet, in the order of submission; survives a connection.
    outstanding: BTreeMap<u64, M>,
    /// Submitted on this connection, packet id not known yet.
    unnumbered: VecDeque<u64>,
    /// Written on this connection, by packet id.
    numbered: HashMap<u16, u64>,
    next: u64,
    /// Messages outstanding at most, by our own choice.
    chosen_limit: u64,
    /// Messages outstanding at most on this connection.
    limit: u64,
    /// Distance between the oldest and the newest outstanding message at most. The event loop hands out packet ids in
    /// a circle; a message that is acknowledged late must not meet its own id again.
    span: u64,
}

impl<M> Window<M> {
    /// `packet_ids` is the size of the event loop's circle of packet ids.
    pub(crate) fn new(limit: u16, packet_ids: u16) -> Self {
        Self {
            outstanding: BTreeMap::new(),
            unnumbered: VecDeque::new(),
            numbered: HashMap::new(),
            next: 0,
            chosen_limit: limit.into(),
            limit: limit.into(),
            span: packet_ids.into(),
        }
    }

    pub(crate) fn has_room(&self) -> bool {
        let oldest = self.outstanding.first_key_value().map_or(self.next, |(number, _)| *number);
        (self.outstanding.len() as u64) < self.limit && self.next - oldest < self.span
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.outstanding.is_empty()
    }

    /// Notes a message that is handed to the event loop next.
    pub(crate) fn submit(&mut self, message: M) {
        self.outstanding.insert(self.next, message);
        self.unnumbered.push_back(self.next);
        self.next += 1;
    }

    /// The event loop wrote the next submitted message under `packet_id`.
    pub(crate) fn written(&mut self, packet_id: u16) -> Option<&mut M> {
        let number = self.unnumbered.pop_front()?;
        self.numbered.insert(packet_id, number);
        self.outstanding.get_mut(&number)
    }

    /// The message that was written under `packet_id` and is not finished.
    pub(crate) fn get_mut(&mut self, packet_id: u16) -> Option<&mut M> {
        self.outstanding.get_mut(self.numbered.get(&packet_id)?)
    }

    /// The event loop wrote the next submitted message at QoS 0: nothing more will be heard of it.
    pub(crate) fn written_without_ack(&mut self) -> Option<M> {
        let number = self.unnumbered.pop_front()?;
        self.outstanding.remove(&number)
    }

    /// The message that `packet_id` finishes, if there is one.
    pub(crate) fn finished(&mut self, packet_id: u16) -> Option<M> {
        let number = self.numbered.remove(&packet_id)?;
        self.outstanding.remove(&number)
    }

    /// Begins a new connection: every outstanding message has to be submitted again, in this order.
    pub(crate) fn restart(&mut self, packet_ids: u16) -> impl Iterator<Item = &M> {
        (self.limit, self.span) = (self.chosen_limit, packet_ids.into());
        self.numbered.clear();
        self.unnumbered = self.outstanding.keys().copied().collect();
        self.outstanding.values()
    }

    /// The broker takes only so many messages at a time (MQTT 5 Receive Maximum), and the event loop's circle of
    /// packet ids shrinks with it.
    pub(crate) fn narrow(&mut self, receive_maximum: u16) {
        self.limit = self.limit.min(receive_maximum.into());
        self.span = self.span.min(receive_maximum.into());
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn acknowledgements_in_any_order_finish_their_own_message() {
        let mut window = Window::new(3, 12);
        for message in ["a", "b", "c"] {
            window.submit(message);
        }
        for packet_id in [1, 2, 3] {
            window.written(packet_id);
        }
        assert!(!window.has_room());
        assert_eq!([2, 3, 1].map(|id| window.finished(id)), [Some("b"), Some("c"), Some("a")]);
        assert!(window.is_empty());
    }

    #[test]
    fn an_acknowledgement_counts_once_and_only_for_what_was_written() {
        let mut window = Window::new(3, 12);
        window.submit("a");
        assert_eq!(window.finished(1), None);
        window.written(1);
        assert_eq!(window.finished(1), Some("a"));
        assert_eq!(window.finished(1), None);
    }

    #[test]
    fn after_a_reconnect_the_unacknowledged_come_again_in_order_and_old_packet_ids_are_void() {
        let mut window = Window::new(4, 16);
        for message in ["a", "b", "c"] {
            window.submit(message);
        }
        window.written(1);
        window.written(2);
        assert_eq!(window.finished(1), Some("a"));
        assert_eq!(window.restart(16).copied().collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(window.finished(2), None);
        assert_eq!(window.written(1), Some(&mut "b"));
        assert_eq!(window.finished(1), Some("b"));
    }

    #[test]
    fn the_newest_message_waits_while_the_oldest_holds_its_packet_id() {
        let mut window = Window::new(2, 4);
        window.submit(0);
        window.written(1);
        for packet_id in [2, 3, 4] {
            assert!(window.has_room());
            window.submit(packet_id);
            window.written(packet_id);
            window.finished(packet_id);
        }
        assert!(!window.has_room(), "the next message would get packet id 1");
        window.finished(1);
        assert!(window.has_room());
    }

    #[test]
    fn whatever_is_cut_and_acknowledged_every_message_finishes_exactly_once() {
        for seed in 0..200 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mut window = Window::new(8, 32);
            let (mut submitted, mut finished) = (0, Vec::new());
            let (mut queue, mut in_flight, mut next_id): (u32, Vec<u16>, u16) = (0, Vec::new(), 1);
            while finished.len() < 100 {
                match rng.random_range(0..10) {
                    0..4 if window.has_room() && submitted < 100 => {
                        window.submit(submitted);
                        submitted += 1;
                        queue += 1;
                    }
                    4..6 if queue > 0 => {
                        assert!(!in_flight.contains(&next_id), "packet id {next_id} twice, seed {seed}");
                        window.written(next_id);
                        in_flight.push(next_id);
                        next_id = next_id % 32 + 1;
                        queue -= 1;
                    }
                    6..9 if !in_flight.is_empty() => {
                        let id = in_flight.swap_remove(rng.random_range(0..in_flight.len()));
                        finished.extend(window.finished(id));
                    }
                    9 if rng.random_bool(0.2) => {
                        queue = window.restart(32).count() as u32;
                        in_flight.clear();
                        next_id = 1;
                    }
                    _ => {}
                }
            }
            finished.sort_unstable();
            assert_eq!(finished, (0..100).collect::<Vec<_>>(), "seed {seed}");
        }
    }
}
