//! Who sends, as numbers: the address its messages carry, and the replies on their way to it.

/// A buffer that grew larger than this is given back after it was taken.
const OUT_KEPT: usize = 256 << 10;

#[derive(Default)]
struct Slot {
    born_host: Vec<u8>,
    is_open: bool,
    /// Sends of it that wait.
    held: u32,
    /// Bytes of their records.
    held_bytes: u64,
    /// Sends of it so far.
    taken: u64,
    /// Requests that were let go since its replies were taken last.
    released: u32,
    out: Vec<u8>,
    /// The socket that its replies may be written to as they are.
    direct: Option<i32>,
}

impl Slot {
    fn clear_out(&mut self) {
        self.out.clear();
        self.out.shrink_to(OUT_KEPT);
    }
}

#[derive(Default)]
pub struct Connections {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Connections with something released, each once.
    ready: Vec<u32>,
    /// Those of them whose replies go straight to their sockets.
    direct_ready: Vec<u32>,
    taken: u64,
}

impl Connections {
    pub fn open(&mut self, born_host: &[u8]) -> u32 {
        let slot = Slot {
            born_host: born_host.to_vec(),
            is_open: true,
            ..Slot::default()
        };
        if let Some(number) = self.free.pop() {
            self.slots[number as usize] = slot;
            return number;
        }
        self.slots.push(slot);
        (self.slots.len() - 1) as u32
    }

    /// Its replies are dropped from now on; the number is given again once nothing of it waits.
    pub fn close(&mut self, number: u32) {
        let slot = &mut self.slots[number as usize];
        slot.is_open = false;
        slot.out = Vec::new();
        slot.direct = None;
        self.free_if_done(number);
    }

    #[must_use]
    pub fn born_host(&self, number: u32) -> &[u8] {
        &self.slots[number as usize].born_host
    }

    pub fn hold(&mut self, number: u32, bytes: u64) {
        let slot = &mut self.slots[number as usize];
        slot.held += 1;
        slot.held_bytes += bytes;
        slot.taken += 1;
        self.taken += 1;
    }

    /// Sends of it so far.
    #[must_use]
    pub fn taken(&self, number: u32) -> u64 {
        self.slots[number as usize].taken
    }

    #[must_use]
    pub fn taken_by_all(&self) -> u64 {
        self.taken
    }

    /// Sends of it that wait, and the bytes of their records.
    #[must_use]
    pub fn held(&self, number: u32) -> (usize, u64) {
        let slot = &self.slots[number as usize];
        (slot.held as usize, slot.held_bytes)
    }

    /// From now on its replies may be written to that socket as they are; `None`: somebody takes them.
    pub fn set_direct(&mut self, number: u32, socket: Option<i32>) {
        self.slots[number as usize].direct = socket;
    }

    /// Writes frames that need not wait for anything, where its replies go straight to its socket; how many
    /// bytes went. Where some did not, the connection's replies are taken by somebody from then on.
    pub fn write_now(
        &mut self,
        number: u32,
        frames: &[u8],
        write: impl FnOnce(i32, &[u8]) -> usize,
    ) -> usize {
        let slot = &mut self.slots[number as usize];
        let count = slot.direct.map_or(0, |socket| write(socket, frames));
        if count < frames.len() {
            slot.direct = None;
        }
        count
    }

    /// One of its sends was let go; `write` adds the reply.
    pub fn release(&mut self, number: u32, bytes: u64, write: impl FnOnce(&mut Vec<u8>)) {
        let slot = &mut self.slots[number as usize];
        slot.held -= 1;
        slot.held_bytes -= bytes;
        if !slot.is_open {
            self.free_if_done(number);
            return;
        }
        write(&mut slot.out);
        if slot.released == 0 {
            self.ready.push(number);
        }
        slot.released += 1;
    }

    /// Something that waited otherwise is answered, unless `write` says that it added nothing.
    pub fn answer(&mut self, number: u32, write: impl FnOnce(&mut Vec<u8>) -> bool) -> bool {
        let slot = &mut self.slots[number as usize];
        if !slot.is_open || !write(&mut slot.out) {
            return false;
        }
        if slot.released == 0 {
            self.ready.push(number);
        }
        slot.released += 1;
        true
    }

    /// Bytes of replies that nobody has written yet.
    #[must_use]
    pub fn unwritten(&self, number: u32) -> usize {
        self.slots[number as usize].out.len()
    }

    /// Hands over number, count of sends, bytes of the records that still wait, and replies of each
    /// connection with something released whose replies somebody takes.
    pub fn take_ready(&mut self, mut take: impl FnMut(u32, u32, u64, &[u8])) {
        for number in self.ready.drain(..) {
            let slot = &mut self.slots[number as usize];
            if !slot.is_open || slot.released == 0 {
                continue; // it left meanwhile, and its number may be another's
            }
            if slot.direct.is_some() {
                self.direct_ready.push(number);
            } else {
                take(number, slot.released, slot.held_bytes, &slot.out);
                slot.clear_out();
            }
            slot.released = 0;
        }
    }

    /// Whether everything released goes straight to sockets, and nobody else is needed for it.
    #[must_use]
    pub fn are_all_direct(&self) -> bool {
        let needs_nobody = |&number: &u32| {
            let slot = &self.slots[number as usize];
            !slot.is_open || slot.released == 0 || slot.direct.is_some()
        };
        self.ready.iter().all(needs_nobody)
    }

    /// Replies of a connection that nobody has written yet, for who writes to it in another way.
    pub fn take_out<R>(&mut self, number: u32, take: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let slot = &mut self.slots[number as usize];
        if slot.released > 0 || slot.out.is_empty() {
            return None;
        }
        let taken = take(&slot.out);
        slot.clear_out();
        Some(taken)
    }

    /// Writes the replies that go straight to their sockets. `write` says how many bytes went; where
    /// some did not, `rest` gets them, and the connection's replies are taken by somebody from then on.
    pub fn write_direct(
        &mut self,
        mut write: impl FnMut(i32, &[u8]) -> usize,
        mut rest: impl FnMut(u32, &[u8]),
    ) {
        for number in self.direct_ready.drain(..) {
            let slot = &mut self.slots[number as usize];
            if !slot.is_open || slot.out.is_empty() || slot.released > 0 {
                continue; // it left, or somebody has taken them
            }
            let count = slot.direct.map_or(0, |socket| write(socket, &slot.out));
            if count < slot.out.len() {
                slot.direct = None;
                rest(number, &slot.out[count..]);
            }
            slot.clear_out();
        }
    }

    fn free_if_done(&mut self, number: u32) {
        let slot = &self.slots[number as usize];
        if !slot.is_open && slot.held == 0 {
            self.free.push(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(connections: &mut Connections) -> Vec<(u32, u32, u64, Vec<u8>)> {
        let mut taken = Vec::new();
        connections.take_ready(|number, count, bytes, out| {
            taken.push((number, count, bytes, out.to_vec()))
        });
        taken
    }

    #[test]
    fn replies_of_a_turn_come_together() {
        let mut connections = Connections::default();
        let (one, two) = (connections.open(b"one"), connections.open(b"two"));
        for (number, bytes) in [(one, 5), (two, 7), (one, 4), (one, 8)] {
            connections.hold(number, bytes);
        }
        assert_eq!(connections.held(one), (3, 17));
        connections.release(two, 7, |out| out.push(2));
        connections.release(one, 5, |out| out.push(1));
        connections.release(one, 4, |_| ());
        assert_eq!(
            taken(&mut connections),
            [(two, 1, 0, vec![2]), (one, 2, 8, vec![1])]
        );
        assert_eq!(taken(&mut connections), []);
    }

    #[test]
    fn a_number_is_given_again_when_nothing_waits() {
        let mut connections = Connections::default();
        let number = connections.open(b"a");
        connections.hold(number, 1);
        connections.hold(number, 1);
        connections.release(number, 1, |out| out.push(1));
        connections.close(number);
        assert_eq!(connections.open(b"b"), 1);
        connections.release(number, 1, |out| out.push(2));
        assert_eq!(connections.open(b"c"), number);
        assert_eq!(taken(&mut connections), []);
        assert_eq!(connections.born_host(number), b"c");
    }

    #[test]
    fn what_waited_otherwise_is_answered_with_the_rest() {
        let mut connections = Connections::default();
        let one = connections.open(b"one");
        let add = |out: &mut Vec<u8>| {
            out.extend_from_slice(b"poll");
            true
        };
        assert!(!connections.answer(one, |_| false));
        assert_eq!(taken(&mut connections), []);
        assert!(connections.answer(one, add));
        assert_eq!(connections.unwritten(one), 4);
        release(&mut connections, &[one], b"send");
        let both = (one, 2, 0, b"pollsend".to_vec());
        assert_eq!(taken(&mut connections), [both]);
        connections.close(one);
        assert!(!connections.answer(one, add));
    }

    /// Releases a send of each with that reply.
    fn release(connections: &mut Connections, numbers: &[u32], reply: &[u8]) {
        for &number in numbers {
            connections.hold(number, 1);
            connections.release(number, 1, |out| out.extend_from_slice(reply));
        }
    }

    type Sent = (i32, Vec<u8>);
    type Left = (u32, Vec<u8>);

    /// What went to which socket, and what was left of whom, if a socket takes so many bytes.
    fn written(connections: &mut Connections, takes: usize) -> (Vec<Sent>, Vec<Left>) {
        let (mut sent, mut left) = (Vec::new(), Vec::new());
        connections.write_direct(
            |socket, out| {
                let count = out.len().min(takes);
                sent.push((socket, out[..count].to_vec()));
                count
            },
            |number, rest| left.push((number, rest.to_vec())),
        );
        (sent, left)
    }

    #[test]
    fn replies_go_straight_to_their_sockets_until_one_does_not_take_them() {
        let mut connections = Connections::default();
        let (one, two) = (connections.open(b"one"), connections.open(b"two"));
        connections.set_direct(one, Some(11));
        release(&mut connections, &[one, two, one], b"abc");
        assert_eq!(taken(&mut connections), [(two, 1, 0, b"abc".to_vec())]);
        let sent = (vec![(11, b"abcabc".to_vec())], vec![]);
        assert_eq!(written(&mut connections, 100), sent);
        assert_eq!(written(&mut connections, 100), (vec![], vec![]));

        release(&mut connections, &[one], b"abc");
        assert_eq!(taken(&mut connections), []);
        let cut = (vec![(11, b"a".to_vec())], vec![(one, b"bc".to_vec())]);
        assert_eq!(written(&mut connections, 1), cut);
        release(&mut connections, &[one], b"d");
        assert_eq!(taken(&mut connections), [(one, 1, 0, b"d".to_vec())]);
    }

    #[test]
    fn what_need_not_wait_is_written_at_once_where_there_is_a_socket() {
        let mut connections = Connections::default();
        let one = connections.open(b"one");
        let mut sent = Vec::new();
        let mut write = |connections: &mut Connections, takes: usize| {
            connections.write_now(one, b"abc", |socket, frames| {
                sent.push((socket, frames.to_vec()));
                takes
            })
        };
        assert_eq!(write(&mut connections, 3), 0, "nobody knows its socket");
        connections.set_direct(one, Some(11));
        assert_eq!(write(&mut connections, 3), 3);
        assert_eq!(write(&mut connections, 2), 2);
        assert_eq!(
            write(&mut connections, 3),
            0,
            "the rest is on its way to the peer"
        );
        assert_eq!(sent, [(11, b"abc".to_vec()), (11, b"abc".to_vec())]);
    }

    #[test]
    fn who_writes_in_another_way_takes_the_replies_along() {
        let mut connections = Connections::default();
        let one = connections.open(b"one");
        connections.set_direct(one, Some(11));
        release(&mut connections, &[one], b"abc");
        assert_eq!(connections.take_out(one, <[u8]>::to_vec), None, "too soon");
        assert_eq!(taken(&mut connections), []);
        assert_eq!(
            connections.take_out(one, <[u8]>::to_vec),
            Some(b"abc".to_vec())
        );
        assert_eq!(written(&mut connections, 100), (vec![], vec![]));

        release(&mut connections, &[one], b"abc");
        assert_eq!(taken(&mut connections), []);
        connections.set_direct(one, None);
        let left = (vec![], vec![(one, b"abc".to_vec())]);
        assert_eq!(written(&mut connections, 100), left);

        connections.set_direct(one, Some(11));
        release(&mut connections, &[one], b"abc");
        assert_eq!(taken(&mut connections), []);
        connections.close(one);
        assert_eq!(connections.open(b"another"), one);
        assert_eq!(written(&mut connections, 100), (vec![], vec![]));
    }
}
