//! One walk over a store nobody has open: the log with its queues and index, or the records alone.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::check::{Finding, LogWalk, Region, Sink};
use crate::check_index::IndexCheck;
use crate::check_queues::{Lost, QueueCheck};
use crate::crc_check;
use crate::disk::Disk;
use crate::error::{failed_at, Result};
use crate::index_format::Shape;
use crate::marker::{DroppedTopic, QueuesFile};
use crate::record::Record;
use crate::recover::Dropped;
use crate::settings::Settings;

/// What our own notes say about queues. Notes that cannot be read say nothing.
pub fn notes_of(disk: &dyn Disk, root: &Path) -> QueuesFile {
    QueuesFile::read(disk, root)
        .ok()
        .flatten()
        .unwrap_or_default()
}

pub(crate) fn shape_of(settings: &Settings) -> Shape {
    Shape {
        slot_count: settings.index_slot_count,
        entry_count: settings.index_entry_count,
    }
}

/// Everything the engine's files say, compared. `step` until `is_at_end`, then `finish`.
pub struct StoreCheck {
    walk: LogWalk,
    disk: Arc<dyn Disk>,
    root: PathBuf,
    parts: Parts,
    known: Vec<(String, i32)>,
}

struct Parts {
    queues: QueueCheck,
    index: Option<IndexCheck>,
    log_min: u64,
}

impl Sink for Parts {
    fn record(&mut self, _: &[u8], record: &Record<'_>, regions: &[Region]) -> Result<()> {
        self.queues.record(record)?;
        if let Some(index) = &mut self.index {
            index.record(record, regions, self.log_min);
        }
        Ok(())
    }
}

/// What a check found.
#[derive(Debug)]
pub struct Report {
    pub findings: Vec<Finding>,
    pub regions: Vec<Region>,
    pub lost: Vec<Lost>,
    pub lost_count: u64,
    pub segment_count: u64,
    pub segment_size: u64,
    pub queue_file_size: u64,
    pub log_min: u64,
    /// Where the last valid record ends.
    pub log_end: u64,
    pub records: u64,
    pub record_bytes: u64,
    /// What Apache would cut off behind the first bad place.
    pub records_behind: u64,
    pub bytes_behind: u64,
    /// Where an interrupted last write begins, and where its bytes do.
    pub torn_tail: Option<(u64, u64, &'static str)>,
}

impl StoreCheck {
    pub fn new(disk: Arc<dyn Disk>, settings: &Settings) -> Result<StoreCheck> {
        let root = settings.root.clone();
        let walk = LogWalk::new(
            Arc::clone(&disk),
            root.join("commitlog"),
            settings.segment_size,
        )?;
        let notes = notes_of(&*disk, &root);
        let queues = QueueCheck::new(
            Arc::clone(&disk),
            root.join("consumequeue"),
            settings.consume_queue_file_size,
            Dropped::new(&notes.dropped),
            settings.delay_levels_ms.clone(),
        )?;
        let index = if settings.index_enabled {
            let shape = shape_of(settings);
            Some(IndexCheck::new(&disk, root.join("index"), shape)?)
        } else {
            None
        };
        let known = notes
            .queues
            .into_iter()
            .map(|queue| (queue.topic, queue.id));
        let known = known.collect();
        let log_min = walk.min;
        let parts = Parts {
            queues,
            index,
            log_min,
        };
        Ok(StoreCheck {
            walk,
            disk,
            root,
            parts,
            known,
        })
    }

    /// Bytes of the log, and how many were looked at.
    pub fn progress(&self) -> (u64, u64) {
        (self.walk.done(), self.walk.size())
    }

    pub fn is_at_end(&self) -> bool {
        self.walk.is_at_end()
    }

    pub fn step(&mut self, size: u64) -> Result<()> {
        self.walk.step(size, &mut self.parts)
    }

    pub fn finish(mut self) -> Result<Report> {
        let (min, end) = (self.walk.min, self.walk.counted.end);
        let regions = std::mem::take(&mut self.walk.regions);
        let queues = &mut self.parts.queues;
        queues.finish(&regions, min, end, &self.known)?;
        let mut findings = std::mem::take(&mut self.walk.findings);
        findings.append(&mut queues.findings);
        if let Some(index) = &mut self.parts.index {
            index.finish(&regions, min, self.root.join("index"));
            findings.append(&mut index.findings);
        }
        let counted = &self.walk.counted;
        findings.extend(crc_check::check(
            &*self.disk,
            &self.root,
            &self.walk.segments,
            counted.unguarded,
        )?);
        Ok(Report {
            findings,
            lost: std::mem::take(&mut queues.lost),
            lost_count: queues.lost_count,
            segment_count: self.walk.segments.len() as u64,
            segment_size: self.walk.segment_size,
            queue_file_size: queues.file_size(),
            log_min: min,
            log_end: end,
            records: counted.records,
            record_bytes: counted.record_bytes,
            records_behind: counted.records_behind,
            bytes_behind: counted.bytes_behind,
            torn_tail: self.walk.torn_tail(),
            regions,
        })
    }
}

/// The records of a log, as many as can be found, those of dropped topics left out.
pub struct RecordWalk {
    walk: LogWalk,
    picked: Picked,
}

struct Picked {
    dropped: Dropped,
    topic: Option<Vec<u8>>,
    from_ms: i64,
    to_ms: i64,
    records: Vec<Vec<u8>>,
    dropped_count: u64,
}

impl Sink for Picked {
    fn record(&mut self, bytes: &[u8], record: &Record<'_>, _: &[Region]) -> Result<()> {
        let time = record.store_timestamp_ms;
        let is_wanted = self
            .topic
            .as_deref()
            .is_none_or(|topic| topic == record.topic)
            && time >= self.from_ms
            && time < self.to_ms;
        if self.dropped.has(record.topic, record.log_offset) {
            self.dropped_count += u64::from(is_wanted);
        } else if is_wanted {
            self.records.push(bytes.to_vec());
        }
        Ok(())
    }
}

impl RecordWalk {
    /// Those of one topic, or of all, stored from `from_ms` on and before `to_ms`.
    pub fn new(
        disk: Arc<dyn Disk>,
        root: &Path,
        segment_size: u64,
        topic: Option<Vec<u8>>,
        from_ms: i64,
        to_ms: i64,
    ) -> Result<RecordWalk> {
        let dropped: Vec<DroppedTopic> = notes_of(&*disk, root).dropped;
        let walk = LogWalk::new(disk, root.join("commitlog"), segment_size)?;
        let picked = Picked {
            dropped: Dropped::new(&dropped),
            topic,
            from_ms,
            to_ms,
            records: Vec::new(),
            dropped_count: 0,
        };
        Ok(RecordWalk { walk, picked })
    }

    pub fn progress(&self) -> (u64, u64) {
        (self.walk.done(), self.walk.size())
    }

    pub fn is_at_end(&self) -> bool {
        self.walk.is_at_end()
    }

    /// Goes on for about `size` bytes; answers the records found there.
    pub fn step(&mut self, size: u64) -> Result<Vec<Vec<u8>>> {
        self.walk.step(size, &mut self.picked)?;
        Ok(std::mem::take(&mut self.picked.records))
    }

    /// Bad regions and their bytes so far, and records of dropped topics.
    pub fn skipped(&self) -> (u64, u64, u64) {
        let regions = &self.walk.regions;
        let bytes = regions.iter().map(|region| region.to - region.from).sum();
        (regions.len() as u64, bytes, self.picked.dropped_count)
    }
}

/// Makes every byte of the log from `log_offset` on zero: an incomplete last record. The caller has
/// checked that nothing valid is behind it.
pub fn clear_tail(
    disk: &dyn Disk,
    walk_dir: &Path,
    segment_size: u64,
    log_offset: u64,
) -> Result<()> {
    use crate::segment::{base_of, file_name};
    for entry in disk
        .list(walk_dir)
        .map_err(|error| crate::error::failed("list", walk_dir, &error))?
    {
        let Some(base) = base_of(&entry.name).filter(|_| !entry.is_dir) else {
            continue;
        };
        if base + segment_size <= log_offset {
            continue;
        }
        let path = walk_dir.join(file_name(base));
        let at = log_offset.saturating_sub(base);
        if at >= entry.len {
            continue;
        }
        let file = disk
            .open(&path)
            .map_err(|error| crate::error::failed("open", &path, &error))?;
        file.zero(at, entry.len - at)
            .and_then(|()| file.sync_data())
            .map_err(|error| failed_at("clear", &path, at, &error))?;
    }
    Ok(())
}
