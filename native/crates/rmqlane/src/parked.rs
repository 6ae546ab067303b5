//! Long polls on the lane: pulls that found nothing and wait for a message, a deadline or a change.
//!
//! The twin of `pyromq.broker.parked.ParkedPolls`. A poll is an entry in a slab, in the line of its
//! queue, in the line of its connection, and in a heap of deadlines; while nothing happens to its
//! queue nobody looks at it. What wakes it is decided elsewhere ([`crate::wake`]): here they are only
//! kept and found. No IO, and time is an argument.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use rmqwire::frame::SerializeType;

use crate::pull::Known;

/// Answers of one connection that may wait for the device, in bytes: they are made whether their peer takes them
/// or not.
const AWAITED_SIZE_MAX: usize = 64 << 20;
/// The heap is rebuilt when it has more ended polls than this, and more than live ones.
const STALE_DEADLINES_MIN: usize = 1024;
const NONE: u32 = u32::MAX;

/// One parked pull.
#[derive(Debug, Clone)]
pub struct Poll {
    pub connection: u32,
    pub opaque: i32,
    pub form: SerializeType,
    /// Who pulls what, as it was known when the pull came.
    pub known: Arc<Known>,
    pub queue_id: i32,
    /// Where the request wanted to begin.
    pub first_offset: i64,
    /// Where it goes on: behind messages that it does not want.
    pub queue_offset: i64,
    pub message_count_max: usize,
    pub body_size_max: usize,
    /// How long it may wait; as soon as [`Parked::begin_waits`] was called, until when; 0 for who takes it over
    /// where it waited for the device.
    pub deadline_ms: i64,
    /// The request as it came, for who takes it over.
    pub frame: Box<[u8]>,
    /// It came for what is there, and waits for the device.
    pub awaits_device: bool,
    /// How often something was brought into memory for it.
    pub fetch_count: usize,
}

impl Poll {
    /// Bytes that it may be answered with, if it waits for the device.
    fn awaited_size(&self) -> usize {
        if self.awaits_device {
            self.body_size_max
        } else {
            0
        }
    }
}

/// Neighbours in a line.
#[derive(Debug, Clone, Copy)]
struct Links {
    before: u32,
    behind: u32,
}

const ALONE: Links = Links {
    before: NONE,
    behind: NONE,
};

/// Polls in the order in which they came.
#[derive(Debug, Clone, Copy)]
struct Line {
    first: u32,
    last: u32,
    count: usize,
}

const EMPTY: Line = Line {
    first: NONE,
    last: NONE,
    count: 0,
};

#[derive(Debug)]
struct Entry {
    poll: Poll,
    /// Tells it from others that had the same slot.
    serial: u64,
    /// Its place in the line of its queue, and of its connection.
    links: [Links; 2],
}

const OF_QUEUE: usize = 0;
const OF_CONNECTION: usize = 1;

#[derive(Debug, Clone, Copy)]
struct Own {
    line: Line,
    /// Polls that may wait here; None: as many as any connection's.
    room: Option<usize>,
    /// Bytes that those may be answered with which wait for the device.
    awaited: usize,
}

/// All polls of a lane.
#[derive(Default)]
pub struct Parked {
    slots: Vec<Option<Entry>>,
    free: Vec<u32>,
    queues: HashMap<Arc<str>, HashMap<i32, Line>>,
    connections: Vec<Own>,
    deadlines: BinaryHeap<Reverse<(i64, u64, u32)>>,
    /// Slot and serial of those whose wait has not begun.
    fresh: Vec<(u32, u64)>,
    count: usize,
    serials: u64,
    room: usize,
    connection_room: usize,
}

impl Parked {
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// So many may wait here in all, and so many of a connection of which nothing else was said.
    pub fn limit(&mut self, room: usize, connection_room: usize) {
        self.room = room;
        self.connection_room = connection_room;
    }

    /// So many of that connection; None: as many as of others.
    pub fn limit_connection(&mut self, connection: u32, room: Option<usize>) {
        self.own(connection).room = room;
    }

    /// Polls of a connection.
    #[must_use]
    pub fn count_of(&self, connection: u32) -> usize {
        let own = self.connections.get(connection as usize);
        own.map_or(0, |own| own.line.count)
    }

    /// Whether one more of the connection may wait here.
    #[must_use]
    pub fn has_room(&self, connection: u32) -> bool {
        let own = self.connections.get(connection as usize);
        let room = own.and_then(|own| own.room).unwrap_or(self.connection_room);
        self.count < self.room && own.map_or(0, |own| own.line.count) < room
    }

    /// Whether it may have one more answer of that size that waits for the device.
    #[must_use]
    pub fn may_await(&self, connection: u32, size: usize) -> bool {
        let own = self.connections.get(connection as usize);
        let awaited = own.map_or(0, |own| own.awaited);
        awaited == 0 || awaited.saturating_add(size) <= AWAITED_SIZE_MAX
    }

    /// Keeps the poll and answers its slot. Its wait begins with the next [`Parked::begin_waits`].
    pub fn park(&mut self, poll: Poll) -> u32 {
        let (connection, queue_id) = (poll.connection, poll.queue_id);
        let awaited = poll.awaited_size();
        let topic = Arc::clone(&poll.known.topic);
        self.serials += 1;
        let serial = self.serials;
        let entry = Some(Entry {
            poll,
            serial,
            links: [ALONE; 2],
        });
        let slot = if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = entry;
            slot
        } else {
            self.slots.push(entry);
            (self.slots.len() - 1) as u32
        };
        self.own(connection);
        let Parked {
            slots,
            queues,
            connections,
            ..
        } = self;
        let line = queues.entry(topic).or_default().entry(queue_id);
        join(slots, line.or_insert(EMPTY), slot, OF_QUEUE);
        let own = &mut connections[connection as usize];
        own.awaited += awaited;
        join(slots, &mut own.line, slot, OF_CONNECTION);
        self.fresh.push((slot, serial));
        self.count += 1;
        slot
    }

    /// The serial number of the poll in a slot, which nobody else ever has.
    #[must_use]
    pub fn serial(&self, slot: u32) -> Option<u64> {
        let entry = self.slots.get(slot as usize)?.as_ref();
        entry.map(|entry| entry.serial)
    }

    /// What was parked since the last call waits since now.
    pub fn begin_waits(&mut self, now_ms: i64) {
        for (slot, serial) in self.fresh.drain(..) {
            let entry = self.slots[slot as usize].as_mut();
            if let Some(entry) = entry.filter(|entry| entry.serial == serial) {
                entry.poll.deadline_ms = entry.poll.deadline_ms.saturating_add(now_ms);
                let due = (entry.poll.deadline_ms, serial, slot);
                self.deadlines.push(Reverse(due));
            }
        }
    }

    /// Slots of the polls of a queue, in the order in which they came.
    pub fn of_queue(&self, topic: &str, queue_id: i32, found: &mut Vec<u32>) {
        let line = self.queues.get(topic).and_then(|of| of.get(&queue_id));
        if let Some(line) = line {
            self.walk(*line, OF_QUEUE, found);
        }
    }

    /// A poll by its slot, which must be taken.
    #[must_use]
    pub fn poll(&mut self, slot: u32) -> Option<&mut Poll> {
        let entry = self.slots.get_mut(slot as usize)?.as_mut();
        entry.map(|entry| &mut entry.poll)
    }

    /// Takes a poll out.
    pub fn take(&mut self, slot: u32) -> Option<Poll> {
        let Entry {
            mut poll, links, ..
        } = self.slots.get_mut(slot as usize)?.take()?;
        if poll.awaits_device {
            poll.deadline_ms = 0;
        }
        self.free.push(slot);
        self.count -= 1;
        let Parked {
            slots,
            queues,
            connections,
            ..
        } = self;
        let own = &mut connections[poll.connection as usize];
        own.awaited -= poll.awaited_size();
        leave(slots, &mut own.line, links[OF_CONNECTION], OF_CONNECTION);
        if let Some(of_topic) = queues.get_mut(&*poll.known.topic) {
            if let Some(line) = of_topic.get_mut(&poll.queue_id) {
                leave(slots, line, links[OF_QUEUE], OF_QUEUE);
                if line.count == 0 {
                    of_topic.remove(&poll.queue_id);
                }
            }
            if of_topic.is_empty() {
                queues.remove(&*poll.known.topic);
            }
        }
        Some(poll)
    }

    /// Takes out those whose time is over.
    pub fn take_due(&mut self, now_ms: i64) -> Vec<Poll> {
        let mut due = Vec::new();
        while let Some(&Reverse((deadline_ms, serial, slot))) = self.deadlines.peek() {
            let is_live = is_live(&self.slots, slot, serial);
            if is_live && deadline_ms > now_ms {
                break;
            }
            self.deadlines.pop();
            if is_live {
                due.extend(self.take(slot));
            }
        }
        let ended = self.deadlines.len().saturating_sub(self.count);
        if ended > STALE_DEADLINES_MIN.max(self.count) {
            let slots = &self.slots;
            self.deadlines
                .retain(|&Reverse((_, serial, slot))| is_live(slots, slot, serial));
        }
        due
    }

    /// Takes out all polls of a topic.
    pub fn take_topic(&mut self, topic: &str) -> Vec<Poll> {
        let mut found = Vec::new();
        if let Some(queues) = self.queues.get(topic) {
            for line in queues.values() {
                self.walk(*line, OF_QUEUE, &mut found);
            }
        }
        self.take_all_of(&found)
    }

    /// Takes out all polls of these groups, in the order in which they came. Goes through all there are.
    pub fn take_groups(&mut self, groups: &[String]) -> Vec<Poll> {
        self.take_where(|poll| groups.iter().any(|group| **group == *poll.known.group))
    }

    /// Takes out all.
    pub fn take_all(&mut self) -> Vec<Poll> {
        self.take_where(|_| true)
    }

    /// Its connection is gone, and so are its polls and what was said of it.
    pub fn drop_connection(&mut self, connection: u32) {
        let Some(own) = self.connections.get_mut(connection as usize) else {
            return;
        };
        own.room = None;
        let line = own.line;
        let mut found = Vec::new();
        self.walk(line, OF_CONNECTION, &mut found);
        self.take_all_of(&found);
    }

    fn take_where(&mut self, is_wanted: impl Fn(&Poll) -> bool) -> Vec<Poll> {
        let entries = self.slots.iter().enumerate();
        let wanted =
            entries.filter(|(_, entry)| entry.as_ref().is_some_and(|e| is_wanted(&e.poll)));
        let numbered = |(slot, entry): (usize, &Option<Entry>)| {
            let serial = entry.as_ref().map_or(0, |entry| entry.serial);
            (serial, slot as u32)
        };
        let mut found: Vec<(u64, u32)> = wanted.map(numbered).collect();
        found.sort_unstable();
        let slots: Vec<u32> = found.into_iter().map(|(_, slot)| slot).collect();
        self.take_all_of(&slots)
    }

    fn take_all_of(&mut self, slots: &[u32]) -> Vec<Poll> {
        slots.iter().filter_map(|&slot| self.take(slot)).collect()
    }

    fn walk(&self, line: Line, which: usize, found: &mut Vec<u32>) {
        let mut slot = line.first;
        while let Some(Some(entry)) = self.slots.get(slot as usize) {
            found.push(slot);
            slot = entry.links[which].behind;
        }
    }

    fn own(&mut self, connection: u32) -> &mut Own {
        let place = connection as usize;
        if place >= self.connections.len() {
            let nobody = Own {
                line: EMPTY,
                room: None,
                awaited: 0,
            };
            self.connections.resize(place + 1, nobody);
        }
        &mut self.connections[place]
    }
}

fn is_live(slots: &[Option<Entry>], slot: u32, serial: u64) -> bool {
    slots[slot as usize]
        .as_ref()
        .is_some_and(|entry| entry.serial == serial)
}

fn link(slots: &mut [Option<Entry>], slot: u32, which: usize) -> Option<&mut Links> {
    let entry = slots.get_mut(slot as usize)?.as_mut();
    entry.map(|entry| &mut entry.links[which])
}

/// Puts a poll at the end of a line.
fn join(slots: &mut [Option<Entry>], line: &mut Line, slot: u32, which: usize) {
    if let Some(links) = link(slots, slot, which) {
        links.before = line.last;
    }
    match link(slots, line.last, which) {
        Some(links) => links.behind = slot,
        None => line.first = slot,
    }
    line.last = slot;
    line.count += 1;
}

/// Closes the gap that a poll with these neighbours has left.
fn leave(slots: &mut [Option<Entry>], line: &mut Line, gone: Links, which: usize) {
    match link(slots, gone.before, which) {
        Some(links) => links.behind = gone.behind,
        None => line.first = gone.behind,
    }
    match link(slots, gone.behind, which) {
        Some(links) => links.before = gone.before,
        None => line.last = gone.before,
    }
    line.count -= 1;
}

#[cfg(test)]
#[path = "parked_tests.rs"]
mod tests;
