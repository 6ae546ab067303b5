//! Dispatch of the log's records to queues and index that may have some of them already: by a start, before
//! the store is open, and by the rebuilder behind it.

use std::collections::{HashMap, HashSet};

use crate::damage::Hole;
use crate::error::Result;
use crate::marker::{DroppedTopic, KnownQueue};
use crate::queue_unit::Unit;
use crate::record::{self, Record};
use crate::recover::{queue_topic, Dropped};
use crate::state::{index_hashes, key_prefix, State};

/// Unwritten units and entries that are kept in memory meanwhile.
pub const REBUILD_SIZE_MAX: usize = 32 << 20;

/// Dispatch of records that queues or index may have already.
pub struct Rebuild {
    pub queues_from: u64,
    pub index_from: u64,
    pub dropped: Dropped,
    pub holes: Vec<Hole>,
    pub delay_levels_ms: Vec<i64>,
    /// Records that claim the first place of a queue that has older ones: the topic was deleted and
    /// made anew, or a damaged record lies. The next record of the queue tells.
    pub new_lives: HashMap<u32, Unit>,
    /// The store is open already: only queues that wait for it are meant, else only the others.
    pub is_late: bool,
    /// Queues whose first unit may stand for a lost message.
    pub begin_lost: HashSet<u32>,
    /// Queues were found that nobody knew of: they are to be noted ([`note_found`]).
    ///
    /// [`note_found`]: crate::rebuild_note::note_found
    pub has_found_new: bool,
}

impl Rebuild {
    pub fn dispatch(&mut self, state: &mut State, found: &Record<'_>) -> Result<()> {
        if mutant!("rebuild_skips_a_record") && found.queue_offset == 3 {
            return Ok(());
        }
        let marks = record::scan_properties(found.properties);
        if found.log_offset >= self.index_from && record::is_indexed(found.sys_flag) {
            let mut hashes = Vec::new();
            index_hashes(key_prefix(found.topic), &marks, |hash| hashes.push(hash));
            let (at, time) = (found.log_offset, found.store_timestamp_ms);
            state.index.put(&mut state.cache, &hashes, at, time);
        }
        if found.log_offset < self.queues_from
            || !found.enters_queue()
            || self.dropped.has(found.topic, found.log_offset)
        {
            return Ok(());
        }
        let Some(topic) = queue_topic(found.topic) else {
            return Ok(());
        };
        let time = found.store_timestamp_ms;
        let unit = Unit {
            log_offset: found.log_offset,
            size: found.size as i32,
            tag: record::tag_field(found.topic, &marks, time, &self.delay_levels_ms),
        };
        let is_new = state.queues.find(topic, found.queue_id).is_none();
        let number = state.queues.find_or_add(topic, found.queue_id);
        if state.queues.is_partial {
            // One that nobody knew of may have had messages before.
            let queue = state.queues.queue_mut(number);
            queue.is_rebuilding |= is_new;
            self.has_found_new |= is_new;
            if queue.is_rebuilding != self.is_late {
                return Ok(());
            }
        }
        self.add(state, number, found.queue_offset, unit)
    }

    fn add(&mut self, state: &mut State, number: u32, queue_offset: i64, unit: Unit) -> Result<()> {
        if let Some(first) = self.new_lives.remove(&number) {
            if queue_offset == 1 {
                state.queues.cut(&mut state.cache, number, 0)?;
                state.queues.push(number, 0, first);
            }
        }
        let queue = state.queues.queue(number);
        let (min, count) = (queue.min, queue.count);
        if (min..count).contains(&queue_offset) {
            let known = state.queues.unit(&mut state.cache, number, queue_offset)?;
            if !known.is_blank() {
                // There already, or of a later life of the topic. A life of its own begins at 0.
                if queue_offset == 0 && known.log_offset < unit.log_offset {
                    self.new_lives.insert(number, unit);
                }
                return Ok(());
            }
            // A lost message is there again.
            state.queues.cut(&mut state.cache, number, queue_offset)?;
        } else if queue_offset < min {
            return Ok(());
        } else if count > 0 && queue_offset > count {
            let lost_max = self.lost_before(unit.log_offset) / record::RECORD_SIZE_MIN as u64;
            if queue_offset - count > state.queues.units_per_file() + lost_max as i64 {
                return Ok(()); // no hole explains that: not to be believed
            }
            let near = self.near(state, number, unit.log_offset)?;
            state.queues.fill(number, queue_offset, near);
            self.begin_lost.insert(number);
        }
        state.queues.push(number, queue_offset, unit);
        Ok(())
    }

    /// Believes new lives that no further record speaks for or against.
    pub fn begin_new_lives(&mut self, state: &mut State) -> Result<()> {
        for (number, first) in std::mem::take(&mut self.new_lives) {
            if state.queues.queue(number).is_dropped {
                continue;
            }
            state.queues.cut(&mut state.cache, number, 0)?;
            state.queues.push(number, 0, first);
        }
        Ok(())
    }

    /// Topics were dropped meanwhile.
    pub fn drop_anew(&mut self, dropped: &[DroppedTopic]) {
        self.dropped = Dropped::new(dropped);
    }

    /// From now on records are only indexed.
    pub fn leave_queues(&mut self) {
        self.queues_from = u64::MAX;
    }

    /// Keeps the places of a rebuilt queue that holes swallowed, and those of one of which nothing is
    /// left in the log.
    pub fn keep_known(
        &self,
        state: &mut State,
        floor: &KnownQueue,
        log_begins_at: u64,
    ) -> Result<()> {
        let found = state.queues.find(&floor.topic, floor.id);
        let Some(queue) = found.map(|number| state.queues.queue(number)) else {
            return Ok(()); // dropped meanwhile
        };
        // Without segments gone and without holes nothing is lost but what a power cut took from the log's
        // end, and those places are free.
        let may_be_lost = (queue.count == 0 && log_begins_at > 0) || !self.holes.is_empty();
        if queue.is_rebuilding && may_be_lost {
            return self.keep_places(state, floor);
        }
        Ok(())
    }

    /// Queues begin behind messages that are lost.
    pub fn skip_lost(&mut self, state: &mut State) -> Result<()> {
        for number in std::mem::take(&mut self.begin_lost) {
            if !state.queues.queue(number).is_dropped {
                state.queues.skip_lost(&mut state.cache, number)?;
            }
        }
        Ok(())
    }

    /// Bytes of all holes before `log_offset`.
    fn lost_before(&self, log_offset: u64) -> u64 {
        let before = self.holes.iter().filter(|hole| hole.to <= log_offset);
        before.map(|hole| hole.to - hole.from).sum()
    }

    /// A log position for blank units behind the queue's last one: in the last hole before `log_offset`.
    fn near(&self, state: &mut State, number: u32, log_offset: u64) -> Result<u64> {
        let queue = state.queues.queue(number);
        let (min, count) = (queue.min, queue.count);
        // A queue without messages may begin with a file that is not made yet.
        let is_first = min == count && count % state.queues.units_per_file() == 0;
        let last = if is_first {
            Unit::BLANK
        } else {
            state.queues.unit(&mut state.cache, number, count - 1)?
        };
        let before = self.holes.iter().filter(|hole| hole.from < log_offset);
        let hole = before.map(|hole| hole.from).next_back().unwrap_or(0);
        Ok(hole.max(last.log_offset).max(1))
    }

    /// Places that were given to messages which are lost stay given.
    pub fn keep_places(&self, state: &mut State, floor: &KnownQueue) -> Result<()> {
        if floor.count <= 0 || queue_topic(floor.topic.as_bytes()).is_none() {
            return Ok(());
        }
        let number = state.queues.find_or_add(&floor.topic, floor.id);
        if state.queues.queue(number).count == 0 {
            let near = self.holes.last().map_or(1, |hole| hole.from.max(1));
            let blank = Unit {
                log_offset: near,
                ..Unit::BLANK
            };
            state.queues.push(number, floor.count - 1, blank);
            return state.queues.skip_lost(&mut state.cache, number);
        }
        let near = self.near(state, number, u64::MAX)?;
        state.queues.fill(number, floor.count, near);
        state.queues.skip_lost(&mut state.cache, number)
    }
}
