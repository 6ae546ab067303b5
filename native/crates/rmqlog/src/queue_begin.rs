//! Where consume queues begin: behind what went with the log's oldest segments, at a unit that stands for
//! a message.

use super::QueueTable;
use crate::error::Result;
use crate::file_cache::FileCache;
use crate::queue_unit::{Unit, UNIT_SIZE};

/// Units of lost messages looked at together.
const LOOK_COUNT: usize = 512;

impl QueueTable {
    /// Moves a queue's `min` to its first unit at or behind `log_min`, where the log begins now
    /// (Apache's `correctMinOffset`). A queue of which nothing is left keeps its count: no offset is
    /// given twice.
    pub fn correct_min(&mut self, cache: &mut FileCache, number: u32, log_min: u64) -> Result<()> {
        let queue = self.queue(number);
        if queue.min_for >= log_min {
            return Ok(());
        }
        let (mut low, mut high) = (queue.min, queue.count);
        // Blank units among others have a log position like them, or halving would go astray.
        let is_gone = |unit: Unit| unit.is_filler() || unit.log_offset < log_min;
        if low < high && is_gone(self.unit(cache, number, low)?) {
            if is_gone(self.unit(cache, number, high - 1)?) {
                low = high;
            }
            while low < high {
                let middle = low + (high - low) / 2;
                if is_gone(self.unit(cache, number, middle)?) {
                    low = middle + 1;
                } else {
                    high = middle;
                }
            }
        }
        self.queue_mut(number).min = low;
        self.skip_lost(cache, number)?;
        self.queue_mut(number).min_for = log_min; // not before: a read may end here, and come again
        Ok(())
    }

    /// Moves a queue's `min` to its first unit that stands for a message: where a queue begins is told by
    /// the records there are, and not by what a start knows of lost ones before them.
    pub fn skip_lost(&mut self, cache: &mut FileCache, number: u32) -> Result<()> {
        let mut units = Vec::new();
        let mut look_count = 1; // one is enough for nearly every queue
        loop {
            let (min, count) = (self.queue(number).min, self.queue(number).count);
            if min >= count {
                return Ok(());
            }
            self.read_units(cache, number, min, look_count, &mut units)?;
            look_count = LOOK_COUNT;
            let (units, _) = units.as_chunks::<UNIT_SIZE>();
            let blank = units.iter().map(|unit| Unit::decode(unit));
            let blank_count = blank.take_while(Unit::is_blank).count();
            self.queue_mut(number).min += blank_count as i64;
            if blank_count < units.len() || units.is_empty() {
                return Ok(());
            }
        }
    }

    /// Where the first file of a queue begins that must stay, as bytes of the queue, if files before it
    /// may be there: those whose units are all below `min`, but never the last file (Apache's rule).
    pub fn expired_to(&self, number: u32) -> Option<u64> {
        let queue = self.queue(number);
        let last = self.file_base((queue.persisted - 1).max(0));
        let limit = self.file_base(queue.min).min(last);
        let is_due = !queue.is_dropped && limit > queue.cleaned_to;
        is_due.then_some(limit as u64 * UNIT_SIZE as u64)
    }

    /// The files of a queue before this byte of it are gone.
    pub fn was_cleaned(&mut self, number: u32, upto: u64) {
        self.queue_mut(number).cleaned_to = (upto / UNIT_SIZE as u64) as i64;
    }
}
