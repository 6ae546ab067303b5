//! Who sends, as numbers: the address its messages carry, and the replies on their way to it.

/// A buffer that grew larger than this is given back after it was taken.
const OUT_KEPT: usize = 256 << 10;

#[derive(Default)]
struct Slot {
    born_host: Vec<u8>,
    is_open: bool,
    /// Sends of it that wait.
    held: u32,
    /// Sends that were let go since its replies were taken last.
    released: u32,
    /// Bytes of their records.
    released_bytes: u64,
    out: Vec<u8>,
}

#[derive(Default)]
pub struct Connections {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Connections with something released, each once.
    ready: Vec<u32>,
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
        self.free_if_done(number);
    }

    #[must_use]
    pub fn born_host(&self, number: u32) -> &[u8] {
        &self.slots[number as usize].born_host
    }

    pub fn hold(&mut self, number: u32) {
        self.slots[number as usize].held += 1;
    }

    /// One of its sends was let go; `write` adds the reply.
    pub fn release(&mut self, number: u32, bytes: u64, write: impl FnOnce(&mut Vec<u8>)) {
        let slot = &mut self.slots[number as usize];
        slot.held -= 1;
        if !slot.is_open {
            self.free_if_done(number);
            return;
        }
        write(&mut slot.out);
        if slot.released == 0 {
            self.ready.push(number);
        }
        slot.released += 1;
        slot.released_bytes += bytes;
    }

    /// Hands over number, count of sends, bytes of their records and replies of each connection with
    /// something released.
    pub fn take_ready(&mut self, mut take: impl FnMut(u32, u32, u64, &[u8])) {
        for number in self.ready.drain(..) {
            let slot = &mut self.slots[number as usize];
            if !slot.is_open || slot.released == 0 {
                continue; // it left meanwhile, and its number may be another's
            }
            take(number, slot.released, slot.released_bytes, &slot.out);
            slot.released = 0;
            slot.released_bytes = 0;
            slot.out.clear();
            slot.out.shrink_to(OUT_KEPT);
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
        for number in [one, two, one] {
            connections.hold(number);
        }
        connections.release(two, 7, |out| out.push(2));
        connections.release(one, 5, |out| out.push(1));
        connections.release(one, 5, |_| ());
        assert_eq!(
            taken(&mut connections),
            [(two, 1, 7, vec![2]), (one, 2, 10, vec![1])]
        );
        assert_eq!(taken(&mut connections), []);
    }

    #[test]
    fn a_number_is_given_again_when_nothing_waits() {
        let mut connections = Connections::default();
        let number = connections.open(b"a");
        connections.hold(number);
        connections.hold(number);
        connections.release(number, 1, |out| out.push(1));
        connections.close(number);
        assert_eq!(connections.open(b"b"), 1);
        connections.release(number, 1, |out| out.push(2));
        assert_eq!(connections.open(b"c"), number);
        assert_eq!(taken(&mut connections), []);
        assert_eq!(connections.born_host(number), b"c");
    }
}
