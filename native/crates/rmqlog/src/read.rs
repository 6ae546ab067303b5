//! Reads of committed messages: by queue, by log position, by time.
//!
//! Statuses and limits follow Apache's `DefaultMessageStore.getMessage`. A queue read first decides which
//! records to hand out, then copies them; records that lie close together come with one pread.

use std::collections::HashSet;

use crate::commit_log::CommitLog;
use crate::engine::Engine;
use crate::error::{Result, StoreError};
use crate::file_cache::FileCache;
use crate::queue_unit::{Unit, UNIT_SIZE};
use crate::record::{self, Found};
use crate::state::State;

/// Queue bytes one read may scan for matches (Apache's `maxFilterMessageSize`).
const SCAN_SIZE_MAX: usize = 16_000;
/// Records with no more than this between them are read together.
const GAP_MAX: u64 = 2048;
/// Bytes one pread takes at most, foreign bytes in between included.
const RUN_SIZE_MAX: u64 = 1 << 20;
/// Units looked at in one step.
const STEP_COUNT_MAX: usize = 1024;
/// Tag filters up to this size are searched without hashing.
const TAGS_LINEAR_MAX: usize = 8;

/// Apache's `GetMessageStatus`, as far as this store gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadStatus {
    Found,
    NoMatchedMessage,
    NoMessageInQueue,
    OffsetOverflowOne,
    OffsetOverflowBadly,
    OffsetTooSmall,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boundary {
    Lower,
    Upper,
}

/// Which records a read hands out; [`Engine::copy`] fetches them.
#[derive(Debug)]
pub struct ReadPlan {
    pub status: ReadStatus,
    pub next_offset: i64,
    pub min_offset: i64,
    pub max_offset: i64,
    /// Log offset and size of each record.
    pub records: Vec<(u64, u32)>,
    /// Bytes of all of them.
    pub size: usize,
}

/// Which tag hashes a reader wants.
enum Wanted<'a> {
    All,
    Few(&'a [i32]),
    Many(HashSet<i32>),
}

impl Wanted<'_> {
    fn has(&self, tag: i64) -> bool {
        // Apache compares the low 32 bits too (`codeSet.contains(tagsCode.intValue())`).
        match self {
            Wanted::All => true,
            Wanted::Few(tags) => tags.contains(&(tag as i32)),
            Wanted::Many(tags) => tags.contains(&(tag as i32)),
        }
    }
}

impl Engine {
    /// Decides which committed records from `queue_offset` on answer a read.
    pub fn plan_read(
        &self,
        topic: &str,
        queue_id: i32,
        queue_offset: i64,
        count_max: usize,
        size_max: usize,
        tags: Option<&[i32]>,
    ) -> Result<ReadPlan> {
        let mut state = self.current()?;
        let wanted = match tags {
            None => Wanted::All,
            Some(tags) if tags.len() <= TAGS_LINEAR_MAX => Wanted::Few(tags),
            Some(tags) => Wanted::Many(tags.iter().copied().collect()),
        };
        state.plan_read(topic, queue_id, queue_offset, count_max, size_max, &wanted)
    }

    /// Copies the planned records one behind the other into `out`, which has the plan's size.
    pub fn copy(&self, records: &[(u64, u32)], out: &mut [u8]) -> Result<()> {
        let mut state = self.state();
        let State { log, cache, .. } = &mut *state;
        copy_records(log, cache, records, out)
    }

    /// The committed record that begins exactly at `log_offset`.
    pub fn record_at(&self, log_offset: i64) -> Result<Option<Vec<u8>>> {
        let mut state = self.current()?;
        match u64::try_from(log_offset) {
            Ok(log_offset) => state.record_at(log_offset),
            Err(_) => Ok(None),
        }
    }

    /// Store time of the message at that queue offset, −1 if there is none.
    pub fn store_time(&self, topic: &str, queue_id: i32, queue_offset: i64) -> Result<i64> {
        let mut state = self.current()?;
        let Some(number) = state.find_queue(topic, queue_id)? else {
            return Ok(-1);
        };
        let queue = state.queues.queue(number);
        if queue_offset < queue.min || queue_offset >= queue.count {
            return Ok(-1);
        }
        Ok(state.store_time(number, queue_offset)?.unwrap_or(-1))
    }

    /// Queue offset by store time; see `Boundary` of the Python protocol.
    pub fn offset_by_time(
        &self,
        topic: &str,
        queue_id: i32,
        timestamp_ms: i64,
        boundary: Boundary,
    ) -> Result<i64> {
        let mut state = self.current()?;
        match state.find_queue(topic, queue_id)? {
            Some(number) => state.offset_by_time(number, timestamp_ms, boundary),
            None => Ok(0),
        }
    }
}

impl State {
    fn plan_read(
        &mut self,
        topic: &str,
        queue_id: i32,
        queue_offset: i64,
        count_max: usize,
        size_max: usize,
        wanted: &Wanted<'_>,
    ) -> Result<ReadPlan> {
        let mut plan = ReadPlan {
            status: ReadStatus::NoMessageInQueue, // Apache's lookup makes the queue it misses
            next_offset: 0,
            min_offset: 0,
            max_offset: 0,
            records: Vec::new(),
            size: 0,
        };
        let Some(number) = self.find_queue(topic, queue_id)? else {
            return Ok(plan);
        };
        let queue = self.queues.queue(number);
        let (min, max) = (queue.min, queue.count);
        plan.min_offset = min;
        plan.max_offset = max;
        (plan.status, plan.next_offset) = if max == 0 {
            (ReadStatus::NoMessageInQueue, 0)
        } else if queue_offset < min {
            (ReadStatus::OffsetTooSmall, min)
        } else if queue_offset == max {
            (ReadStatus::OffsetOverflowOne, queue_offset)
        } else if queue_offset > max {
            (ReadStatus::OffsetOverflowBadly, max)
        } else {
            (ReadStatus::NoMatchedMessage, queue_offset)
        };
        if plan.status != ReadStatus::NoMatchedMessage {
            return Ok(plan);
        }
        let scan_max = (SCAN_SIZE_MAX / UNIT_SIZE).max(count_max);
        // Without a filter the records wanted are the next ones: no need to look further at once.
        let step = if matches!(wanted, Wanted::All) {
            count_max.max(1)
        } else {
            scan_max
        };
        let step = step.min(STEP_COUNT_MAX);
        let mut units = Vec::new();
        let mut scanned = 0;
        let State {
            queues,
            cache,
            commit,
            ..
        } = self;
        while scanned < scan_max {
            let limit = step.min(scan_max - scanned);
            queues.read_units(
                cache,
                number,
                queue_offset + scanned as i64,
                limit,
                &mut units,
            )?;
            for bytes in units.chunks_exact(UNIT_SIZE) {
                let unit = Unit::decode(bytes);
                let size = unit.size as u32 as usize;
                let is_full = !plan.records.is_empty()
                    && (plan.records.len() >= count_max || plan.size + size > size_max);
                if is_full && !unit.is_blank() {
                    return Ok(plan);
                }
                if !unit.is_blank() && (!unit.is_written() || unit.end() > *commit) {
                    return Err(StoreError::Failed(format!(
                        "{}: unit {} does not point into the log",
                        queues.queue_dir(number).display(),
                        queue_offset + scanned as i64
                    )));
                }
                scanned += 1;
                plan.next_offset = queue_offset + scanned as i64;
                if unit.is_blank() || !wanted.has(unit.tag) {
                    continue;
                }
                plan.records.push((unit.log_offset, unit.size as u32));
                plan.size += size;
                plan.status = ReadStatus::Found;
            }
            if units.len() < limit * UNIT_SIZE {
                break; // the queue's end
            }
        }
        Ok(plan)
    }

    pub(crate) fn record_at(&mut self, log_offset: u64) -> Result<Option<Vec<u8>>> {
        let room = self.log.base_of(log_offset) + self.log.segment_size() - log_offset;
        let readable = room.min(self.commit.saturating_sub(log_offset)) as usize;
        if log_offset < self.log.min() || readable < record::RECORD_SIZE_MIN {
            return Ok(None);
        }
        let State { log, cache, .. } = self;
        let mut bytes = vec![0u8; record::RECORD_SIZE_MIN];
        log.read_at(cache, &mut bytes, log_offset)?;
        loop {
            match record::parse(&bytes, log_offset, room, true) {
                Found::Record(found) => {
                    let size = found.size;
                    bytes.truncate(size);
                    return Ok(Some(bytes));
                }
                Found::Partial(size) if size <= readable && size > bytes.len() => {
                    bytes.resize(size, 0);
                    log.read_at(cache, &mut bytes, log_offset)?;
                }
                _ => return Ok(None),
            }
        }
    }

    /// Store time of a queue's message; `None` for a blank unit.
    fn store_time(&mut self, number: u32, queue_offset: i64) -> Result<Option<i64>> {
        let State {
            log, queues, cache, ..
        } = self;
        let unit = queues.unit(cache, number, queue_offset)?;
        if unit.is_blank() {
            return Ok(None);
        }
        let mut prefix = [0u8; record::STORE_TIME_PREFIX];
        log.read_at(cache, &mut prefix, unit.log_offset)?;
        Ok(record::store_timestamp(&prefix))
    }

    fn offset_by_time(
        &mut self,
        number: u32,
        timestamp_ms: i64,
        boundary: Boundary,
    ) -> Result<i64> {
        let queue = self.queues.queue(number);
        let (min, max) = (queue.min, queue.count);
        // The first message stored at or after the time (LOWER), or after it (UPPER). Store times
        // never decrease, so halving finds it also among equal ones.
        let (mut low, mut high) = (min, max);
        while low < high {
            let middle = low + (high - low) / 2;
            let mut at = middle;
            let mut time = None;
            while at < high {
                time = self.store_time(number, at)?;
                if time.is_some() {
                    break;
                }
                at += 1;
            }
            let is_before = match (time, boundary) {
                (None, _) => false,
                (Some(time), Boundary::Lower) => time < timestamp_ms,
                (Some(time), Boundary::Upper) => time <= timestamp_ms,
            };
            if is_before {
                low = at + 1;
            } else {
                high = middle;
            }
        }
        Ok(match boundary {
            Boundary::Lower => low,
            Boundary::Upper => (low - 1).max(min),
        })
    }
}

/// Copies records into `out`, several with one pread where they lie close together.
fn copy_records(
    log: &CommitLog,
    cache: &mut FileCache,
    records: &[(u64, u32)],
    out: &mut [u8],
) -> Result<()> {
    let mut scratch = Vec::new();
    let mut rest = out;
    let mut first = 0;
    while first < records.len() {
        let start = records[first].0;
        let limit = log.base_of(start) + log.segment_size();
        let mut end = start + u64::from(records[first].1);
        let mut wanted = u64::from(records[first].1);
        let mut last = first + 1;
        while let Some(&(offset, size)) = records.get(last) {
            let record_end = offset + u64::from(size);
            let is_near = offset >= end && offset - end <= GAP_MAX && record_end <= limit;
            if !is_near || record_end - start > RUN_SIZE_MAX {
                break;
            }
            end = record_end;
            wanted += u64::from(size);
            last += 1;
        }
        let (part, others) = rest.split_at_mut(wanted as usize);
        if end - start == wanted {
            log.read_at(cache, part, start)?;
        } else {
            scratch.resize((end - start) as usize, 0);
            log.read_at(cache, &mut scratch, start)?;
            let mut at = 0;
            for &(offset, size) in &records[first..last] {
                let from = (offset - start) as usize;
                part[at..at + size as usize].copy_from_slice(&scratch[from..from + size as usize]);
                at += size as usize;
            }
        }
        check_heads(log, &records[first..last], part)?;
        rest = others;
        first = last;
    }
    Ok(())
}

/// What was read must be the records the queue speaks of.
fn check_heads(log: &CommitLog, records: &[(u64, u32)], bytes: &[u8]) -> Result<()> {
    let mut at = 0;
    for &(offset, size) in records {
        let size = size as usize;
        let says_size = bytes.get(at..at + 4) == Some(&(size as u32).to_be_bytes()[..]);
        let says_offset = bytes.get(at + 28..at + 36) == Some(&offset.to_be_bytes()[..]);
        if !says_size || !says_offset {
            return Err(StoreError::Failed(format!(
                "{}: no record of {size} bytes at byte {}, where a consume queue points",
                log.path_of(offset).display(),
                offset - log.base_of(offset)
            )));
        }
        at += size;
    }
    Ok(())
}
