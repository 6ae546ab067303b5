//! Consume queues: for each queue of a topic, the log positions of its messages in order.
//!
//! A unit has 20 bytes: `i64 log offset | i32 size | i64 tag hash` (Apache's `ConsumeQueue`). Files of a
//! queue have one size and are named by their first byte's position in the queue. Units are collected
//! in memory behind what the files hold, merged into reads, and written in batches by the persister;
//! what a crash loses of them is rebuilt from the log.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::byte_queue::ByteQueue;
use crate::disk::Disk;
use crate::error::{failed_at, Result, StoreError};
use crate::file_cache::{FileCache, FileKey};
use crate::queue_unit::{Unit, UNIT_SIZE};
use crate::segment::file_name;
use crate::state::key_prefix;

/// Unwritten units of all queues together may use this much memory; then appends are refused.
pub const TAILS_SIZE_MAX: usize = 256 << 20;
/// Units that are read together for a reader that goes on: about a page.
pub const AHEAD_COUNT: usize = 204;
/// Queue ids below this find their queue by index.
const DENSE_IDS: i32 = 1024;

/// A power of two.
const RECENT_COUNT: usize = 16;

/// One queue of a topic. Offsets count units.
pub struct Queue {
    pub topic: Arc<str>,
    pub id: i32,
    /// Index hashes of its messages' keys begin with it.
    pub key_prefix: i32,
    /// First unit that points into the log; see [`QueueTable::correct_min`].
    pub min: i64,
    /// The log's first position when `min` was last looked at.
    min_for: u64,
    /// Files before this unit are known to be gone.
    cleaned_to: i64,
    /// One past the last committed unit.
    pub count: i64,
    /// The offset the next append gets: `count` plus what is appended and not yet committed.
    pub next: i64,
    /// One past the last unit the files hold.
    persisted: i64,
    /// Units from `persisted` up to `count`.
    tail: ByteQueue,
    is_dirty: bool,
    has_arrival: bool,
    /// Its topic was dropped: appends on their way no longer enter it.
    pub is_dropped: bool,
    /// It is being made anew from the log: what it has so far is nobody's business.
    pub is_rebuilding: bool,
}

#[derive(Default)]
struct Topic {
    /// Queue number by queue id; `u32::MAX` where there is none.
    dense: Vec<u32>,
    sparse: HashMap<i32, u32>,
}

impl Topic {
    fn find(&self, id: i32) -> Option<u32> {
        if (0..DENSE_IDS).contains(&id) {
            self.dense
                .get(id as usize)
                .copied()
                .filter(|&number| number != u32::MAX)
        } else {
            self.sparse.get(&id).copied()
        }
    }

    fn add(&mut self, id: i32, number: u32) {
        if (0..DENSE_IDS).contains(&id) {
            let index = id as usize;
            if self.dense.len() <= index {
                self.dense.resize(index + 1, u32::MAX);
            }
            self.dense[index] = number;
        } else {
            self.sparse.insert(id, number);
        }
    }

    fn numbers(&self) -> Vec<u32> {
        let dense = self
            .dense
            .iter()
            .copied()
            .filter(|&number| number != u32::MAX);
        dense.chain(self.sparse.values().copied()).collect()
    }
}

/// All queues of a store. A queue is known by its number, which is never given to another one.
pub struct QueueTable {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    units_per_file: i64,
    topics: HashMap<Arc<str>, Topic>,
    queues: Vec<Queue>,
    /// Numbers of queues found lately, by the last bits of their ids: the next message is often for one of
    /// them.
    recent: [u32; RECENT_COUNT],
    dirty: Vec<u32>,
    arrivals: Vec<u32>,
    tails_size: usize,
    /// Files made since the last sync: their names are not safe yet.
    created: Vec<PathBuf>,
    /// The log may hold messages of queues that are not in the table, until a rebuild has gone through it.
    pub is_partial: bool,
}

impl QueueTable {
    pub fn new(disk: Arc<dyn Disk>, dir: PathBuf, file_size: u64) -> QueueTable {
        QueueTable {
            disk,
            dir,
            units_per_file: (file_size / UNIT_SIZE as u64) as i64,
            topics: HashMap::new(),
            queues: Vec::new(),
            recent: [0; RECENT_COUNT],
            dirty: Vec::new(),
            arrivals: Vec::new(),
            tails_size: 0,
            created: Vec::new(),
            is_partial: false,
        }
    }

    pub fn find(&self, topic: &str, id: i32) -> Option<u32> {
        self.topics.get(topic)?.find(id)
    }

    /// The same for those who read or append. Refused as long as a rebuild may find other messages of it.
    pub fn find_whole(&self, topic: &str, id: i32) -> Result<Option<u32>> {
        self.if_whole(self.find(topic, id), topic, id)
    }

    /// The same for those who often ask for the same few queues.
    pub fn find_recent(&mut self, topic: &str, id: i32) -> Result<Option<u32>> {
        let place = id as usize % RECENT_COUNT;
        let number = self.recent[place];
        let is_it = |queue: &&Queue| queue.id == id && *queue.topic == *topic && !queue.is_dropped;
        let known = self.queues.get(number as usize).filter(is_it);
        let found = match known {
            Some(_) => Some(number),
            None => self.find(topic, id),
        };
        self.recent[place] = found.unwrap_or(0);
        self.if_whole(found, topic, id)
    }

    fn if_whole(&self, found: Option<u32>, topic: &str, id: i32) -> Result<Option<u32>> {
        let is_absent = match found {
            Some(number) => self.queue(number).is_rebuilding && !mutant!("shown_before_rebuilt"),
            None => self.is_partial,
        };
        if is_absent {
            return Err(StoreError::Rebuilding(format!(
                "queue {id} of {topic} is being rebuilt from the log, try again later"
            )));
        }
        Ok(found)
    }

    /// How many queues are known to be rebuilt.
    pub fn rebuilding_count(&self) -> usize {
        let numbers = self.numbers().into_iter();
        numbers
            .filter(|&number| self.queue(number).is_rebuilding)
            .count()
    }

    /// The rebuild went through the log: every queue there is is whole. Answers which were rebuilt.
    pub fn end_rebuild(&mut self) -> Vec<u32> {
        self.is_partial = false;
        let mut rebuilt = self.numbers();
        rebuilt.retain(|&number| self.queue(number).is_rebuilding);
        for &number in &rebuilt {
            self.queue_mut(number).is_rebuilding = false;
        }
        rebuilt
    }

    /// The queue's number; a new queue is empty and begins at 0.
    pub fn find_or_add(&mut self, topic: &str, id: i32) -> u32 {
        if let Some(number) = self.find(topic, id) {
            return number;
        }
        let name: Arc<str> = match self.topics.get_key_value(topic) {
            Some((name, _)) => Arc::clone(name),
            None => Arc::from(topic),
        };
        let number = self.queues.len() as u32;
        self.queues.push(Queue {
            topic: Arc::clone(&name),
            id,
            key_prefix: key_prefix(topic.as_bytes()),
            min: 0,
            min_for: 0,
            cleaned_to: 0,
            count: 0,
            next: 0,
            persisted: 0,
            tail: ByteQueue::default(),
            is_dirty: false,
            has_arrival: false,
            is_dropped: false,
            is_rebuilding: false,
        });
        self.topics.entry(name).or_default().add(id, number);
        number
    }

    pub fn queue(&self, number: u32) -> &Queue {
        &self.queues[number as usize]
    }

    pub fn queue_mut(&mut self, number: u32) -> &mut Queue {
        &mut self.queues[number as usize]
    }

    /// Numbers of all queues that are not dropped.
    pub fn numbers(&self) -> Vec<u32> {
        self.topics.values().flat_map(Topic::numbers).collect()
    }

    /// Ids of the topic's queues that hold or held messages, ascending.
    pub fn ids(&self, topic: &str) -> Vec<i32> {
        let Some(topic) = self.topics.get(topic) else {
            return Vec::new();
        };
        let mut ids: Vec<i32> = topic
            .numbers()
            .into_iter()
            .map(|number| self.queue(number))
            .filter(|queue| queue.count > 0)
            .map(|queue| queue.id)
            .collect();
        ids.sort_unstable();
        ids
    }

    pub fn tails_size(&self) -> usize {
        self.tails_size
    }

    pub fn queue_dir(&self, number: u32) -> PathBuf {
        let queue = self.queue(number);
        self.dir.join(&*queue.topic).join(queue.id.to_string())
    }

    fn file_base(&self, offset: i64) -> i64 {
        offset - offset % self.units_per_file
    }

    fn file_path(&self, number: u32, base: i64) -> PathBuf {
        self.queue_dir(number)
            .join(file_name(base as u64 * UNIT_SIZE as u64))
    }

    /// States what the files of a queue hold, as recovery found it.
    pub fn set_persisted(&mut self, number: u32, min: i64, count: i64) {
        let queue = self.queue_mut(number);
        debug_assert!(queue.tail.is_empty());
        queue.min = min;
        queue.count = count;
        queue.next = count;
        queue.persisted = count;
    }

    /// Lengthens a queue by blank units up to `count`: messages that are lost, which `near` in the log
    /// were. Their places are not given again.
    pub fn fill(&mut self, number: u32, count: i64, near: u64) {
        let queue = &self.queues[number as usize];
        if queue.count == 0 || count <= queue.count {
            return;
        }
        let blank = Unit {
            log_offset: near,
            ..Unit::BLANK
        };
        for queue_offset in queue.count..count {
            self.push(number, queue_offset, blank);
        }
    }

    /// Adds the unit of the message with this queue offset. Offsets below `count` are there already; a
    /// jump is filled with blank units.
    pub fn push(&mut self, number: u32, queue_offset: i64, unit: Unit) {
        let file_base = self.file_base(queue_offset);
        let queue = &mut self.queues[number as usize];
        if queue_offset < queue.count {
            return;
        }
        let before = queue.tail.len();
        if queue.count == 0 && queue_offset > 0 {
            // A queue whose first messages are gone begins in the file of its first one.
            queue.persisted = file_base;
            queue.count = file_base;
            queue.min = queue_offset;
        }
        for _ in queue.count..queue_offset {
            queue.tail.push(&Unit::BLANK.encode());
        }
        queue.tail.push(&unit.encode());
        queue.count = queue_offset + 1;
        queue.next = queue.next.max(queue.count);
        self.tails_size += queue.tail.len() - before;
        if !queue.is_dirty {
            queue.is_dirty = true;
            self.dirty.push(number);
        }
    }

    /// Notes that the queue became longer, for [`QueueTable::take_arrivals`].
    pub fn arrived(&mut self, number: u32) {
        let queue = &mut self.queues[number as usize];
        if !queue.has_arrival {
            queue.has_arrival = true;
            self.arrivals.push(number);
        }
    }

    pub fn take_arrivals(&mut self) -> Vec<u32> {
        let numbers = std::mem::take(&mut self.arrivals);
        for &number in &numbers {
            self.queues[number as usize].has_arrival = false;
        }
        numbers
            .into_iter()
            .filter(|&number| !self.queue(number).is_dropped)
            .collect()
    }

    /// Units from `from` on, at most `limit`, encoded, into `out`; from files and memory alike.
    pub fn read_units(
        &self,
        cache: &mut FileCache,
        number: u32,
        from: i64,
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        out.clear();
        let queue = self.queue(number);
        let to = queue.count.min(from + limit as i64);
        let mut at = from;
        while at < to {
            if at >= queue.persisted {
                let start = (at - queue.persisted) as usize * UNIT_SIZE;
                let end = (to - queue.persisted) as usize * UNIT_SIZE;
                out.extend_from_slice(queue.tail.get(start..end));
                return Ok(());
            }
            let file_end = self.file_base(at) + self.units_per_file;
            let part_end = to.min(queue.persisted).min(file_end);
            self.read_file(cache, number, at, part_end, out)?;
            at = part_end;
        }
        Ok(())
    }

    /// The same for who will probably want those behind them next: what the files hold of them comes along.
    pub fn read_units_ahead(
        &self,
        cache: &mut FileCache,
        number: u32,
        from: i64,
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let queue = self.queue(number);
        let to = queue.count.min(from + limit as i64);
        let file_end = self.file_base(from) + self.units_per_file;
        let part_end = queue.persisted.min(file_end);
        if from >= to || to > part_end || limit > AHEAD_COUNT {
            return self.read_units(cache, number, from, limit, out);
        }
        out.clear();
        if let Some(units) = cache.units(number, from, to) {
            out.extend_from_slice(units);
            return Ok(());
        }
        let upto = part_end.min(from + AHEAD_COUNT as i64);
        if self.read_file(cache, number, from, upto, out).is_err() {
            // Those that are wanted may be readable all the same.
            return self.read_units(cache, number, from, limit, out);
        }
        cache.keep_units(number, from, out);
        out.truncate((to - from) as usize * UNIT_SIZE);
        Ok(())
    }

    /// Adds the units from `from` up to `to`, which one file holds.
    fn read_file(
        &self,
        cache: &mut FileCache,
        number: u32,
        from: i64,
        to: i64,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let base = self.file_base(from);
        let start = out.len();
        out.resize(start + (to - from) as usize * UNIT_SIZE, 0);
        let place = (from - base) as u64 * UNIT_SIZE as u64;
        let file = self.open_file(cache, number, base)?;
        let key = FileKey::Queue(number, base as u64);
        let end = self.units_per_file.min(self.queue(number).persisted - base) as u64;
        let got = cache
            .ahead
            .read(key, &file, &mut out[start..], place, end * UNIT_SIZE as u64)
            .map_err(|error| failed_at("read", &self.file_path(number, base), place, &error))?;
        if got < out.len() - start {
            return Err(StoreError::Failed(format!(
                "{}: read at byte {place}: the file is too short",
                self.file_path(number, base).display()
            )));
        }
        Ok(())
    }

    pub fn unit(&self, cache: &mut FileCache, number: u32, offset: i64) -> Result<Unit> {
        let mut bytes = Vec::with_capacity(UNIT_SIZE);
        self.read_units(cache, number, offset, 1, &mut bytes)?;
        if bytes.len() < UNIT_SIZE {
            return Err(StoreError::Failed(format!(
                "{}: no unit {offset}",
                self.queue_dir(number).display()
            )));
        }
        Ok(Unit::decode(&bytes))
    }

    /// Queues with unwritten units. Each counts as one of them until [`QueueTable::begin_write`]: there may be
    /// very many.
    pub fn take_dirty(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.dirty)
    }

    /// The queue's units up to the one before the answer are going to be written; it counts as clean.
    pub fn begin_write(&mut self, number: u32) -> i64 {
        let queue = &mut self.queues[number as usize];
        queue.is_dirty = false;
        queue.count
    }

    /// Counts a queue as dirty again whose units could not be written: they are tried later.
    pub fn write_later(&mut self, number: u32, has_begun: bool) {
        let queue = &mut self.queues[number as usize];
        queue.is_dirty &= has_begun;
        if !queue.is_dropped && !queue.is_dirty && !queue.tail.is_empty() {
            queue.is_dirty = true;
            self.dirty.push(number);
        }
    }

    /// Takes the topic's queues out of the table; answers their numbers.
    pub fn drop_topic(&mut self, topic: &str) -> Vec<u32> {
        let Some(topic) = self.topics.remove(topic) else {
            return Vec::new();
        };
        let numbers = topic.numbers();
        for &number in &numbers {
            let queue = &mut self.queues[number as usize];
            queue.is_dropped = true;
            self.tails_size -= queue.tail.len();
            queue.tail.clear();
        }
        self.dirty.retain(|number| !numbers.contains(number));
        numbers
    }

    /// Every queue whose files hold units: topic, id, one past the last one there.
    pub fn all(&self) -> Vec<(&str, i32, i64)> {
        let mut all: Vec<(&str, i32, i64)> = self
            .numbers()
            .into_iter()
            .map(|number| self.queue(number))
            .filter(|queue| queue.persisted > queue.min || queue.persisted == queue.count)
            .filter(|queue| queue.persisted > 0)
            .map(|queue| (&*queue.topic, queue.id, queue.persisted))
            .collect();
        all.sort_unstable();
        all
    }

    /// Bytes of a queue's file.
    pub fn file_size(&self) -> u64 {
        self.units_per_file as u64 * UNIT_SIZE as u64
    }

    pub fn units_per_file(&self) -> i64 {
        self.units_per_file
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

#[path = "queue_begin.rs"]
mod begin;
#[path = "queue_files.rs"]
mod files;

pub use files::UnitWrite;

#[cfg(test)]
#[path = "consume_queue_tests.rs"]
mod tests;
