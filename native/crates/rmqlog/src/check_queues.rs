//! Whether the consume queues say what the log says: `pyromq store check` and `repair`.
//!
//! The log is the truth. Its records come by in order; each one's unit is compared with what the queue's
//! file has in that place. What was never compared is looked at last: a unit may point to a record that
//! was deleted by age or that is damaged, and nowhere else. A place that the log gives again belongs to
//! the newer message: the topic was deleted and made anew.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::check::{finding, is_within, Finding, Region};
use crate::disk::{Disk, DiskFile};
use crate::error::{failed, Result};
use crate::queue_unit::{Unit, UNIT_SIZE};
use crate::record::{self, Record};
use crate::recover::{queue_topic, Dropped};
use crate::segment::{base_of, file_name};

/// Bytes of a queue kept in memory: many queues are compared at once.
const BUFFER_SIZE: usize = 200 * UNIT_SIZE;
/// Files held open at once.
const FILES_MAX: usize = 64;
/// Messages without a record that are named one by one.
const LOST_MAX: usize = 1000;
const DELAY_TOPIC: &[u8] = b"SCHEDULE_TOPIC_XXXX";
/// No delay level is longer (ms).
const DELAY_MAX_MS: i64 = 30 * 24 * 3600 * 1000;
/// Tag fields up to here are addresses in Apache's extension files.
const EXTENSION_ADDRESS_MAX: i64 = -2_147_483_649;

/// Ranges of queue offsets, ascending, apart from one another.
#[derive(Debug, Default, Clone)]
struct Ranges(Vec<(i64, i64)>);

impl Ranges {
    fn push(&mut self, offset: i64) {
        match self.0.last_mut() {
            Some(last) if last.1 == offset => last.1 += 1,
            _ => self.0.push((offset, offset + 1)),
        }
    }

    fn cut(&mut self, from: i64) {
        while self.0.last().is_some_and(|last| last.0 >= from) {
            self.0.pop();
        }
        if let Some(last) = self.0.last_mut() {
            last.1 = last.1.min(from);
        }
    }

    fn has(&self, offset: i64) -> bool {
        let behind = self.0.partition_point(|range| range.1 <= offset);
        self.0.get(behind).is_some_and(|range| range.0 <= offset)
    }

    fn count_before(&self, end: i64) -> u64 {
        let size = |range: &(i64, i64)| (range.1.min(end) - range.0).max(0) as u64;
        self.0.iter().map(size).sum()
    }

    fn count(&self) -> u64 {
        self.0.iter().map(|range| (range.1 - range.0) as u64).sum()
    }
}

/// A message that queues know and the log has not any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    pub topic: String,
    pub queue_id: i32,
    pub queue_offset: i64,
    pub log_offset: u64,
}

struct Queue {
    topic: String,
    id: i32,
    dir: PathBuf,
    bases: Vec<u64>,
    buffer: Vec<u8>,
    buffer_at: u64,
    /// One past the newest message.
    next: i64,
    matched: Ranges,
    differing: Ranges,
}

/// All queues of a store, beside a walk over its log.
pub struct QueueCheck {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    file_size: u64,
    queues: Vec<Queue>,
    numbers: HashMap<Vec<u8>, HashMap<i32, usize>>,
    files: HashMap<PathBuf, Arc<dyn DiskFile>>,
    dropped: Dropped,
    delay_levels_ms: Vec<i64>,
    pub findings: Vec<Finding>,
    pub lost: Vec<Lost>,
    pub lost_count: u64,
}

/// What the unit of a record must be, or nothing if it enters no queue.
pub fn unit_of(
    found: &Record<'_>,
    dropped: &Dropped,
    delay_levels_ms: &[i64],
) -> Option<(String, Unit)> {
    if !found.enters_queue() || dropped.has(found.topic, found.log_offset) {
        return None;
    }
    let topic = queue_topic(found.topic)?;
    let marks = record::scan_properties(found.properties);
    let time = found.store_timestamp_ms;
    let unit = Unit {
        log_offset: found.log_offset,
        size: found.size as i32,
        tag: record::tag_field(found.topic, &marks, time, delay_levels_ms),
    };
    Some((topic.to_string(), unit))
}

impl QueueCheck {
    /// Lists the directories; what is wrong with the files themselves becomes findings.
    pub fn new(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        configured_size: u64,
        dropped: Dropped,
        delay_levels_ms: Vec<i64>,
    ) -> Result<QueueCheck> {
        let mut check = QueueCheck {
            disk,
            dir,
            file_size: configured_size,
            queues: Vec::new(),
            numbers: HashMap::new(),
            files: HashMap::new(),
            dropped,
            delay_levels_ms,
            findings: Vec::new(),
            lost: Vec::new(),
            lost_count: 0,
        };
        check.list()?;
        Ok(check)
    }

    /// Bytes of a queue's file here.
    pub fn file_size(&self) -> u64 {
        self.file_size
    }

    fn list(&mut self) -> Result<()> {
        let disk = Arc::clone(&self.disk);
        let list = |dir: &PathBuf| disk.list(dir).map_err(|error| failed("list", dir, &error));
        let mut sizes: HashMap<u64, u64> = HashMap::new();
        let mut found = Vec::new();
        for topic in list(&self.dir)?.into_iter().filter(|entry| entry.is_dir) {
            let topic_dir = self.dir.join(&topic.name);
            for queue in list(&topic_dir)?.into_iter().filter(|entry| entry.is_dir) {
                let Ok(id) = queue.name.parse::<i32>() else {
                    continue;
                };
                let dir = topic_dir.join(&queue.name);
                let entries = list(&dir)?;
                let files: Vec<_> = entries.into_iter().filter(|entry| !entry.is_dir).collect();
                for file in &files {
                    *sizes.entry(file.len).or_default() += 1;
                }
                found.push((topic.name.clone(), id, dir, files));
            }
        }
        let is_usable = |size: u64| size > 0 && size.is_multiple_of(UNIT_SIZE as u64);
        let usable = sizes.iter().filter(|(&size, _)| is_usable(size));
        if let Some((&size, _)) = usable.max_by_key(|(&size, &count)| (count, size)) {
            self.file_size = size;
        }
        for (topic, id, dir, files) in found {
            let number = self.add(&topic, id);
            for file in files {
                let path = dir.join(&file.name);
                let about = match base_of(&file.name) {
                    None => Some(("queue-stray-file", "not a file of a queue".to_string())),
                    Some(_) if file.len != self.file_size => Some((
                        "queue-size",
                        format!("{} bytes, the others have {}", file.len, self.file_size),
                    )),
                    Some(base) if !base.is_multiple_of(self.file_size) => Some((
                        "queue-name",
                        "no file of this size begins there".to_string(),
                    )),
                    Some(base) => {
                        self.queues[number].bases.push(base);
                        None
                    }
                };
                if let Some((kind, what)) = about {
                    self.note(number, kind, path, 0, file.len, &what, 0);
                }
            }
            self.queues[number].bases.sort_unstable();
        }
        Ok(())
    }

    fn add(&mut self, topic: &str, id: i32) -> usize {
        let by_id = self.numbers.entry(topic.as_bytes().to_vec()).or_default();
        *by_id.entry(id).or_insert_with(|| {
            self.queues.push(Queue {
                topic: topic.to_string(),
                id,
                dir: self.dir.join(topic).join(id.to_string()),
                bases: Vec::new(),
                buffer: Vec::new(),
                buffer_at: 0,
                next: 0,
                matched: Ranges::default(),
                differing: Ranges::default(),
            });
            self.queues.len() - 1
        })
    }

    #[allow(clippy::too_many_arguments)] // one line of the report
    fn note(
        &mut self,
        number: usize,
        kind: &'static str,
        path: PathBuf,
        at: u64,
        size: u64,
        what: &str,
        count: u64,
    ) {
        let queue = &self.queues[number];
        let mut about = finding(kind, path, at, size, what);
        about.queue = Some((queue.topic.clone(), queue.id));
        about.count = count;
        self.findings.push(about);
    }

    /// Compares the record's unit with the one in its place.
    pub fn record(&mut self, found: &Record<'_>) -> Result<()> {
        let Some((topic, unit)) = unit_of(found, &self.dropped, &self.delay_levels_ms) else {
            return Ok(());
        };
        if found.queue_offset < 0 {
            return Ok(());
        }
        let number = self.add(&topic, found.queue_id);
        let known = self.unit(number, found.queue_offset)?;
        let offset = found.queue_offset;
        let queue = &mut self.queues[number];
        if offset < queue.next {
            queue.matched.cut(offset);
            queue.differing.cut(offset);
        }
        queue.next = offset + 1;
        let is_same = known.is_some_and(|known| {
            known.log_offset == unit.log_offset
                && known.size == unit.size
                && is_tag(found, known.tag, unit.tag)
        });
        if is_same {
            queue.matched.push(offset);
        } else {
            queue.differing.push(offset);
        }
        Ok(())
    }

    /// The unit in a place, if there is a file for it.
    fn unit(&mut self, number: usize, offset: i64) -> Result<Option<Unit>> {
        let Some(position) = (offset as u64).checked_mul(UNIT_SIZE as u64) else {
            return Ok(None);
        };
        let queue = &self.queues[number];
        let known_to = queue.buffer_at + queue.buffer.len() as u64;
        if position < queue.buffer_at || position + UNIT_SIZE as u64 > known_to {
            let base = position - position % self.file_size;
            if queue.bases.binary_search(&base).is_err() {
                return Ok(None);
            }
            let path = queue.dir.join(file_name(base));
            let file = self.open(&path)?;
            let size = BUFFER_SIZE.min((base + self.file_size - position) as usize);
            let mut buffer = vec![0u8; size];
            // What cannot be read is as good as not there: it is rebuilt.
            let got = file.read_at(&mut buffer, position - base).unwrap_or(0);
            buffer.truncate(got);
            let queue = &mut self.queues[number];
            queue.buffer = buffer;
            queue.buffer_at = position;
        }
        let queue = &self.queues[number];
        let at = (position - queue.buffer_at) as usize;
        Ok(queue.buffer.get(at..at + UNIT_SIZE).map(Unit::decode))
    }

    fn open(&mut self, path: &PathBuf) -> Result<Arc<dyn DiskFile>> {
        if let Some(file) = self.files.get(path) {
            return Ok(Arc::clone(file));
        }
        if self.files.len() >= FILES_MAX {
            self.files.clear();
        }
        let file = self
            .disk
            .open(path)
            .map_err(|error| failed("open", path, &error))?;
        self.files.insert(path.clone(), Arc::clone(&file));
        Ok(file)
    }

    /// After the walk: everything that no record accounted for. `known` are the queues our own notes
    /// remember; `log_min` and `log_end` bound what a unit may point to.
    pub fn finish(
        &mut self,
        regions: &[Region],
        log_min: u64,
        log_end: u64,
        known: &[(String, i32)],
    ) -> Result<()> {
        for number in 0..self.queues.len() {
            self.finish_queue(number, regions, log_min, log_end, known)?;
        }
        self.files.clear();
        Ok(())
    }

    fn finish_queue(
        &mut self,
        number: usize,
        regions: &[Region],
        log_min: u64,
        log_end: u64,
        known: &[(String, i32)],
    ) -> Result<()> {
        let queue = &self.queues[number];
        let dir = queue.dir.clone();
        if queue.bases.is_empty() {
            let name = (queue.topic.clone(), queue.id);
            let count = queue.differing.count();
            let has_topic = self.disk.exists(&self.dir.join(&queue.topic));
            let kind = if known.contains(&name) || has_topic {
                "queue-missing"
            } else {
                "queue-of-unknown-topic" // deleted, unless the metadata knows it
            };
            if count > 0 {
                self.note(number, kind, dir, 0, 0, "missing", count);
            }
            return Ok(());
        }
        let bases = queue.bases.clone();
        let begin = bases.first().map_or(0, |first| first / UNIT_SIZE as u64) as i64;
        let before = queue.differing.count_before(begin);
        if before > 0 {
            let what = "units are missing before the first file";
            self.note(
                number,
                "queue-file-missing",
                dir.clone(),
                0,
                0,
                what,
                before,
            );
        }
        for (index, &base) in bases.iter().enumerate() {
            if let Some(&before) = index.checked_sub(1).and_then(|before| bases.get(before)) {
                if before + self.file_size != base {
                    let path = dir.join(file_name(before + self.file_size));
                    let size = base - before - self.file_size;
                    self.note(number, "queue-file-missing", path, 0, size, "missing", 0);
                }
            }
            self.finish_file(number, base, regions, log_min, log_end)?;
        }
        let end = bases.last().map_or(0, |last| last + self.file_size) / UNIT_SIZE as u64;
        let differing = &self.queues[number].differing;
        let missing_tail = differing.count() - differing.count_before(end as i64);
        if missing_tail > 0 {
            let path = dir.join(file_name(end * UNIT_SIZE as u64));
            let what = "units are missing";
            self.note(number, "queue-behind", path, 0, 0, what, missing_tail);
        }
        Ok(())
    }

    fn finish_file(
        &mut self,
        number: usize,
        base: u64,
        regions: &[Region],
        log_min: u64,
        log_end: u64,
    ) -> Result<()> {
        let first = (base / UNIT_SIZE as u64) as i64;
        let last = first + (self.file_size / UNIT_SIZE as u64) as i64;
        let next = self.queues[number].next;
        let path = self.queues[number].dir.join(file_name(base));
        // (kind, first byte, last byte, count)
        let mut wrong: Vec<(&'static str, u64, u64, u64)> = Vec::new();
        let file = self.open(&path)?;
        let has_rest = |offset: i64| {
            let at = offset as u64 * UNIT_SIZE as u64 - base;
            file.next_data(at).is_ok_and(|data| data.is_some())
        };
        self.queues[number].buffer.clear();
        let mut offset = first;
        while offset < last {
            if self.queues[number].matched.has(offset) {
                offset += 1;
                continue;
            }
            if offset >= next && offset % 4096 == 0 && !has_rest(offset) {
                break;
            }
            let unit = self.unit(number, offset)?.unwrap_or(Unit {
                log_offset: 0,
                size: 0,
                tag: 0,
            });
            let is_expected = self.queues[number].differing.has(offset);
            let is_zero = unit.encode() == [0; UNIT_SIZE];
            let kind = if is_expected && !unit.is_written() {
                let is_tail = is_zero && !self.has_written(number, offset, next)?;
                Some(if is_tail {
                    "queue-behind"
                } else {
                    "queue-wrong"
                })
            } else if is_expected {
                Some("queue-wrong")
            } else if is_zero {
                // Nothing behind the end; before it every place must be taken.
                (offset < next && offset > self.begin_of(number)).then_some("queue-hole")
            } else if unit.is_blank() || (unit.is_written() && unit.log_offset < log_min) {
                None
            } else if unit.is_written() && is_within(regions, unit.log_offset) {
                self.lose(number, offset, unit.log_offset);
                None
            } else if unit.is_written() && unit.log_offset >= log_end {
                Some("queue-ahead")
            } else {
                Some("queue-wrong")
            };
            if let Some(kind) = kind {
                let at = offset as u64 * UNIT_SIZE as u64 - base;
                let end = at + UNIT_SIZE as u64;
                match wrong.last_mut().filter(|last| last.0 == kind) {
                    Some(last) => (last.2, last.3) = (end, last.3 + 1),
                    None => wrong.push((kind, at, end, 1)),
                }
            }
            offset += 1;
        }
        for (kind, at, end, count) in wrong {
            let what = match kind {
                "queue-behind" => "units are missing",
                "queue-ahead" => "units point behind the log's end",
                "queue-hole" => "no unit where one must be",
                _ => "units do not point to their records",
            };
            self.note(number, kind, path.clone(), at, end - at, what, count);
        }
        Ok(())
    }

    /// Offset of the first message the log still has of this queue.
    fn begin_of(&self, number: usize) -> i64 {
        let queue = &self.queues[number];
        let first = |ranges: &Ranges| ranges.0.first().map_or(i64::MAX, |range| range.0);
        first(&queue.matched).min(first(&queue.differing))
    }

    /// Whether a unit is right in some place behind `offset`.
    fn has_written(&self, number: usize, offset: i64, next: i64) -> Result<bool> {
        let matched = &self.queues[number].matched;
        Ok(next > offset && matched.0.last().is_some_and(|last| last.1 > offset))
    }

    fn lose(&mut self, number: usize, queue_offset: i64, log_offset: u64) {
        self.lost_count += 1;
        if self.lost.len() < LOST_MAX {
            let queue = &self.queues[number];
            self.lost.push(Lost {
                topic: queue.topic.clone(),
                queue_id: queue.id,
                queue_offset,
                log_offset,
            });
        }
    }
}

/// Whether the tag field is right. In the delay topic it is the time of delivery, and the levels may
/// have been other ones then; Apache's extension files keep it elsewhere.
fn is_tag(found: &Record<'_>, known: i64, wanted: i64) -> bool {
    known == wanted
        || known <= EXTENSION_ADDRESS_MAX
        || (found.topic == DELAY_TOPIC
            && (0..=DELAY_MAX_MS).contains(&(known - found.store_timestamp_ms)))
}
