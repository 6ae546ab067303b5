//! Reads of committed messages: by queue, by log position, by time.
//!
//! Statuses and limits follow Apache's `DefaultMessageStore.getMessage`. A queue read first decides which
//! records to hand out, then copies them; records that lie close together come with one pread. Every
//! record is checked before it goes out: a damaged one is passed over, told of once, and counted.

use std::collections::HashSet;
use std::sync::Arc;

use crate::commit_log::CommitLog;
use crate::consume_queue::AHEAD_COUNT;
use crate::crc_file::record_crc;
use crate::engine::Engine;
use crate::error::Result;
use crate::queue_unit::{Unit, UNIT_SIZE};
use crate::record::{self, Found};
use crate::record_crcs::{record_crcs, GROUP_COUNT};
use crate::scan::why_differs;
use crate::state::State;

/// Queue bytes one read may scan for matches (Apache's `maxFilterMessageSize`).
const SCAN_SIZE_MAX: usize = 16_000;
/// Records with no more than this between them are read together.
const GAP_MAX: u64 = 8192;
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
    /// Where each record is.
    pub records: Vec<Planned>,
    /// Bytes of all of them.
    pub size: usize,
    /// Queue units were found that point nowhere: see [`Engine::take_damage_news`].
    pub has_news: bool,
    topic: Option<Arc<str>>,
    queue_id: i32,
}

/// A record to be read, as its queue knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    pub log_offset: u64,
    pub size: u32,
    pub queue_offset: i64,
}

impl ReadPlan {
    /// Takes out the records that [`Engine::copy`] found damaged; the read goes on behind them.
    pub fn pass_over(&mut self, damaged: &[usize]) {
        let mut number = 0;
        self.records.retain(|_| {
            number += 1;
            !damaged.contains(&(number - 1))
        });
        self.size = self.records.iter().map(|next| next.size as usize).sum();
        if self.records.is_empty() {
            self.status = ReadStatus::NoMatchedMessage;
        }
    }
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
        state.plan_wanted(topic, queue_id, queue_offset, count_max, size_max, tags)
    }

    /// Copies the planned records one behind the other into `out`, which has the plan's size. Answers
    /// which of them are damaged, by their place in the plan: then take those out and copy again.
    pub fn copy(&self, plan: &ReadPlan, out: &mut [u8]) -> Result<Vec<usize>> {
        self.state().copy(plan, out)
    }

    /// Both steps in one: what is damaged is passed over.
    pub fn read(
        &self,
        topic: &str,
        queue_id: i32,
        queue_offset: i64,
        count_max: usize,
        size_max: usize,
    ) -> Result<(ReadPlan, Vec<u8>)> {
        let mut plan = self.plan_read(topic, queue_id, queue_offset, count_max, size_max, None)?;
        loop {
            let mut out = vec![0u8; plan.size];
            let damaged = self.copy(&plan, &mut out)?;
            if damaged.is_empty() {
                return Ok((plan, out));
            }
            plan.pass_over(&damaged);
        }
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
    /// What [`Engine::plan_read`] does.
    pub(crate) fn plan_wanted(
        &mut self,
        topic: &str,
        queue_id: i32,
        queue_offset: i64,
        count_max: usize,
        size_max: usize,
        tags: Option<&[i32]>,
    ) -> Result<ReadPlan> {
        let wanted = match tags {
            None => Wanted::All,
            Some(tags) if tags.len() <= TAGS_LINEAR_MAX => Wanted::Few(tags),
            Some(tags) => Wanted::Many(tags.iter().copied().collect()),
        };
        self.plan_read(topic, queue_id, queue_offset, count_max, size_max, &wanted)
    }

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
            has_news: false,
            topic: None,
            queue_id,
        };
        let Some(number) = self.find_queue(topic, queue_id)? else {
            return Ok(plan);
        };
        let queue = self.queues.queue(number);
        let (min, max) = (queue.min, queue.count);
        plan.topic = Some(Arc::clone(&queue.topic));
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
        // Without a filter the records wanted are the next ones: at first no need to look further than at
        // the one behind them, which says that the read is full.
        let first_step = if matches!(wanted, Wanted::All) {
            count_max.max(1) + 1
        } else {
            AHEAD_COUNT
        };
        let mut scanned = 0;
        let State {
            queues,
            cache,
            commit,
            damage,
            units,
            ..
        } = self;
        while scanned < scan_max {
            let step = if scanned == 0 { first_step } else { scan_max };
            let limit = step.min(STEP_COUNT_MAX).min(scan_max - scanned);
            queues.read_units_ahead(cache, number, queue_offset + scanned as i64, limit, units)?;
            for bytes in units.chunks_exact(UNIT_SIZE) {
                let unit = Unit::decode(bytes);
                let size = unit.size as u32 as usize;
                let is_full = !plan.records.is_empty()
                    && (plan.records.len() >= count_max || plan.size + size > size_max);
                if is_full && !unit.is_blank() {
                    return Ok(plan);
                }
                let at = queue_offset + scanned as i64;
                let points_nowhere = !unit.is_written() || unit.end() > *commit;
                if !unit.is_blank() && points_nowhere {
                    plan.has_news = true;
                    damage.found_unit(number, at, || {
                        format!(
                            "{}: unit {at} does not point into the log: its message is passed over",
                            queues.queue_dir(number).display()
                        )
                    });
                }
                scanned += 1;
                plan.next_offset = at + 1;
                if unit.is_blank()
                    || points_nowhere
                    || !wanted.has(unit.tag)
                    || damage.is_in_hole(unit.log_offset)
                {
                    continue;
                }
                plan.records.push(Planned {
                    log_offset: unit.log_offset,
                    size: unit.size as u32,
                    queue_offset: at,
                });
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
        let State {
            log, cache, damage, ..
        } = self;
        let crc = log.crcs().expected(log_offset);
        let mut bytes = vec![0u8; record::RECORD_SIZE_MIN];
        let got = log.read_some(cache, &mut bytes, log_offset)?;
        bytes.truncate(got);
        let reason = loop {
            match record::parse(&bytes, log_offset, room, crc.is_none()) {
                Found::Record(found) => {
                    let size = found.size;
                    if crc.is_some_and(|crc| crc != record_crc(found.bytes)) {
                        break why_differs(found.bytes, log_offset, room);
                    }
                    bytes.truncate(size);
                    return Ok(Some(bytes));
                }
                Found::Partial(size) if size <= readable && size > bytes.len() => {
                    bytes.resize(size, 0);
                    let got = log.read_some(cache, &mut bytes, log_offset)?;
                    bytes.truncate(got);
                    if got < size {
                        break "the file ends within a record";
                    }
                }
                Found::Bad(reason) => break reason,
                _ => break "no such record",
            }
        };
        // A position that somebody asks for may be none; where a checksum is noted there was a record.
        if crc.is_some() {
            damage.found(log_offset, || {
                format!(
                    "{}: byte {}: {reason}: the message there is damaged and not given out",
                    log.path_of(log_offset).display(),
                    log_offset - log.base_of(log_offset)
                )
            });
        }
        Ok(None)
    }

    /// Store time of a queue's message; `None` for a blank unit and where no such record is.
    fn store_time(&mut self, number: u32, queue_offset: i64) -> Result<Option<i64>> {
        let State {
            log,
            queues,
            cache,
            commit,
            damage,
            ..
        } = self;
        let unit = queues.unit(cache, number, queue_offset)?;
        if unit.is_blank()
            || !unit.is_written()
            || unit.end() > *commit
            || damage.is_in_hole(unit.log_offset)
        {
            return Ok(None);
        }
        let mut prefix = [0u8; record::STORE_TIME_PREFIX];
        let got = log.read_some(cache, &mut prefix, unit.log_offset)?;
        let is_record = record::is_head(&prefix[..got], unit.log_offset)
            && prefix[0..4] == unit.size.to_be_bytes()
            && prefix[20..28] == queue_offset.to_be_bytes();
        if is_record && log.crcs().expected(unit.log_offset).is_some() {
            // The time may be what is damaged.
            let record = self.record_at(unit.log_offset)?;
            return Ok(record.and_then(|record| record::store_timestamp(&record)));
        }
        Ok(record::store_timestamp(&prefix).filter(|_| is_record))
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

impl State {
    /// What [`Engine::copy`] does.
    pub(crate) fn copy(&mut self, plan: &ReadPlan, out: &mut [u8]) -> Result<Vec<usize>> {
        copy_records(self, &plan.records, out)?;
        let State { log, damage, .. } = self;
        let mut damaged = Vec::new();
        let mut rest = &*out;
        for (group, records) in plan.records.chunks(GROUP_COUNT).enumerate() {
            let mut parts = [&[][..]; GROUP_COUNT];
            let mut expected = [None; GROUP_COUNT];
            for (place, planned) in records.iter().enumerate() {
                (parts[place], rest) = rest.split_at(planned.size as usize);
                expected[place] = log.crcs().expected(planned.log_offset);
            }
            if log.crcs().ahead().is_missing() && !mutant!("cold_checksum_not_awaited") {
                break; // whether they are whole is not known yet
            }
            let crcs = if expected.iter().all(Option::is_none) {
                [0; GROUP_COUNT]
            } else if records.len() == GROUP_COUNT {
                record_crcs(parts)
            } else {
                parts.map(record_crc)
            };
            for (place, planned) in records.iter().enumerate() {
                let crcs = expected[place].map(|expected| (expected, crcs[place]));
                let found = problem(log, plan, planned, parts[place], crcs);
                let Some(reason) = found.filter(|_| !mutant!("bad_record_handed_out")) else {
                    continue;
                };
                damaged.push(group * GROUP_COUNT + place);
                damage.found(planned.log_offset, || {
                    format!(
                        "{}: byte {}: {reason}: message {} of {}/{} is damaged and passed over",
                        log.path_of(planned.log_offset).display(),
                        planned.log_offset - log.base_of(planned.log_offset),
                        planned.queue_offset,
                        plan.topic.as_deref().unwrap_or_default(),
                        plan.queue_id,
                    )
                });
            }
        }
        Ok(damaged)
    }
}

/// Why what was read is not the record its queue speaks of, if so. `crcs`: the whole record's checksum as it
/// should be and as it is; then the body's need not be looked at.
fn problem(
    log: &CommitLog,
    plan: &ReadPlan,
    planned: &Planned,
    bytes: &[u8],
    crcs: Option<(u32, u32)>,
) -> Option<&'static str> {
    let log_offset = planned.log_offset;
    let room = log.base_of(log_offset) + log.segment_size() - log_offset;
    let found = match record::parse(bytes, log_offset, room, crcs.is_none()) {
        Found::Record(found) => found,
        Found::Bad(reason) => return Some(reason),
        Found::Blank | Found::Partial(_) => return Some("no such record"),
    };
    let topic = plan.topic.as_deref().unwrap_or_default();
    if found.size != bytes.len() {
        return Some("total size differs from its queue's");
    }
    if crcs.is_some_and(|(expected, crc)| expected != crc) && !mutant!("crc_not_compared") {
        return Some(why_differs(bytes, log_offset, room));
    }
    // Apache's light queues point to records of another topic.
    let is_own = found.topic == topic.as_bytes()
        && found.queue_id == plan.queue_id
        && found.queue_offset == planned.queue_offset;
    if !is_own && !topic.starts_with("%LMQ%") {
        return Some("another queue's record");
    }
    None
}

/// Copies records into `out`, several with one pread where they lie close together. Bytes that are not
/// there are zero.
fn copy_records(state: &mut State, records: &[Planned], out: &mut [u8]) -> Result<()> {
    let State {
        log,
        cache,
        window,
        commit,
        ..
    } = state;
    let mut rest = out;
    let mut first = 0;
    while first < records.len() {
        let start = records[first].log_offset;
        let limit = log.base_of(start) + log.segment_size();
        let mut end = start + u64::from(records[first].size);
        let mut wanted = u64::from(records[first].size);
        let mut last = first + 1;
        while let Some(next) = records.get(last) {
            let (offset, record_end) = (next.log_offset, next.log_offset + u64::from(next.size));
            let is_near = offset >= end && offset - end <= GAP_MAX && record_end <= limit;
            if !is_near || record_end - start > RUN_SIZE_MAX {
                break;
            }
            end = record_end;
            wanted += u64::from(next.size);
            last += 1;
        }
        let (mut part, others) = rest.split_at_mut(wanted as usize);
        rest = others;
        let run = &records[first..last];
        first = last;
        if end > limit {
            part.fill(0); // no record reaches over its segment's end: the unit is damaged
            continue;
        }
        if end - start == wanted {
            let got = log.read_some(cache, part, start)?;
            part[got..].fill(0);
            continue;
        }
        let among = window.read(log, cache, (start, end), *commit).ok();
        for next in run {
            let (record, behind) = part.split_at_mut(next.size as usize);
            part = behind;
            match among {
                Some(bytes) => {
                    let from = (next.log_offset - start) as usize;
                    record.copy_from_slice(&bytes[from..from + record.len()]);
                }
                // What cannot be read may be what nobody wants.
                None => {
                    let got = log.read_some(cache, record, next.log_offset)?;
                    record[got..].fill(0);
                }
            }
        }
    }
    Ok(())
}
