//! Making consume queues and the index anew from the log, into a directory of their own, for `pyromq
//! store repair`: the caller puts them in place when they are whole and synced.
//!
//! A message whose record is damaged keeps its place in its queue: the unit says where in the log its
//! bytes are, or were, so that readers meet a bad record there and go on behind it, and no queue offset
//! is given twice.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::check::{is_within, LogWalk, Region, Sink};
use crate::check_queues::unit_of;
use crate::check_store::{notes_of, shape_of};
use crate::disk::{Disk, DiskFile};
use crate::error::{failed, failed_at, Result};
use crate::index_format::{time_name, Header, IndexEntry, Shape, HEADER_SIZE, SLOT_SIZE};
use crate::marker::Marker;
use crate::queue_unit::{Unit, UNIT_SIZE};
use crate::record::{self, Record};
use crate::recover::Dropped;
use crate::segment::file_name;
use crate::settings::Settings;
use crate::state::{index_hashes, key_prefix};

/// Bytes of one queue that wait to be written.
const TAIL_SIZE_MAX: usize = 64 << 10;
/// Entries that wait to be written.
const ENTRIES_MAX: usize = 64 << 10;

/// Queues (and the index) being made.
pub struct Rebuild {
    walk: LogWalk,
    made: Made,
}

struct Made {
    disk: Arc<dyn Disk>,
    queues: HashMap<Vec<u8>, HashMap<i32, NewQueue>>,
    file_size: u64,
    dropped: Dropped,
    delay_levels_ms: Vec<i64>,
    index: Option<NewIndex>,
}

struct NewQueue {
    dir: PathBuf,
    old_dir: PathBuf,
    begin: i64,
    count: i64,
    /// Queue offset of the tail's first unit.
    tail_from: i64,
    tail: Vec<u8>,
    /// Where its newest message lies.
    last_log_offset: u64,
    /// One past the newest message there ever was, as our notes know it.
    known_count: i64,
}

impl Sink for Made {
    fn record(&mut self, _: &[u8], found: &Record<'_>, regions: &[Region]) -> Result<()> {
        if let Some(index) = &mut self.index {
            index.add(&*self.disk, found)?;
        }
        let Some((topic, unit)) = unit_of(found, &self.dropped, &self.delay_levels_ms) else {
            return Ok(());
        };
        let by_id = self.queues.get_mut(topic.as_bytes());
        let Some(queue) = by_id.and_then(|by_id| by_id.get_mut(&found.queue_id)) else {
            return Ok(());
        };
        if found.queue_offset < 0 {
            return Ok(());
        }
        queue.put(
            &*self.disk,
            self.file_size,
            found.queue_offset,
            unit,
            regions,
        )
    }
}

impl NewQueue {
    fn put(
        &mut self,
        disk: &dyn Disk,
        file_size: u64,
        offset: i64,
        unit: Unit,
        regions: &[Region],
    ) -> Result<()> {
        if offset < self.count {
            // Given again: the topic was deleted and made anew. What was written goes.
            self.tail.clear();
            let begin = self.begin.min(offset);
            let dir = self.dir.clone();
            for entry in disk
                .list(&dir)
                .map_err(|error| failed("list", &dir, &error))?
            {
                let path = dir.join(&entry.name);
                if offset == begin {
                    disk.remove_file(&path)
                        .map_err(|error| failed("remove", &path, &error))?;
                } else if let Some(base) = crate::segment::base_of(&entry.name) {
                    let from = (offset as u64 * UNIT_SIZE as u64).max(base);
                    if from < base + file_size {
                        let file = disk
                            .open(&path)
                            .map_err(|error| failed("open", &path, &error))?;
                        let at = from - base;
                        file.zero(at, file_size - at)
                            .map_err(|error| failed_at("clear", &path, at, &error))?;
                    }
                }
            }
            self.count = if offset == begin { 0 } else { offset };
            self.tail_from = self.count;
        }
        if self.count == 0 {
            let per_file = (file_size / UNIT_SIZE as u64) as i64;
            self.begin = offset - offset % per_file;
            self.count = self.begin;
            self.tail_from = self.begin;
            while self.count < offset {
                self.push(disk, file_size, Unit::BLANK)?;
            }
        }
        while self.count < offset {
            let hole = self.hole(disk, file_size, unit.log_offset, regions);
            self.push(disk, file_size, hole)?;
        }
        self.last_log_offset = unit.log_offset;
        self.push(disk, file_size, unit)
    }

    /// Takes the places of messages that are not in the log any more, so that none is given again.
    fn fill(
        &mut self,
        disk: &dyn Disk,
        file_size: u64,
        end: u64,
        regions: &[Region],
    ) -> Result<()> {
        if self.count == 0 && self.known_count > 0 {
            let per_file = (file_size / UNIT_SIZE as u64) as i64;
            self.begin = self.known_count - 1 - (self.known_count - 1) % per_file;
            (self.count, self.tail_from) = (self.begin, self.begin);
        }
        while self.count < self.known_count {
            let unit = self.hole(disk, file_size, end, regions);
            self.push(disk, file_size, unit)?;
        }
        Ok(())
    }

    fn push(&mut self, disk: &dyn Disk, file_size: u64, unit: Unit) -> Result<()> {
        self.tail.extend_from_slice(&unit.encode());
        self.count += 1;
        if self.tail.len() >= TAIL_SIZE_MAX {
            self.write(disk, file_size)?;
        }
        Ok(())
    }

    /// The unit of a message whose record is bad: the old one if it points there, else one that points
    /// to the newest bad region before the next message.
    fn hole(&self, disk: &dyn Disk, file_size: u64, before: u64, regions: &[Region]) -> Unit {
        let position = self.count as u64 * UNIT_SIZE as u64;
        let base = position - position % file_size;
        let mut bytes = [0u8; UNIT_SIZE];
        if let Ok(file) = disk.open(&self.old_dir.join(file_name(base))) {
            if file.read_at(&mut bytes, position - base).unwrap_or(0) == UNIT_SIZE {
                let old = Unit::decode(&bytes);
                let fits = old.is_written() && !old.is_blank() && old.log_offset < before;
                if fits && is_within(regions, old.log_offset) {
                    return old;
                }
            }
        }
        let last = regions.iter().rev().find(|region| region.from < before);
        match last.filter(|region| region.from >= self.last_log_offset) {
            Some(region) => Unit {
                log_offset: region.from,
                size: (region.to - region.from).min(i32::MAX as u64 - 1) as i32,
                tag: 0,
            },
            None => Unit::BLANK,
        }
    }

    fn write(&mut self, disk: &dyn Disk, file_size: u64) -> Result<()> {
        let mut position = self.tail_from as u64 * UNIT_SIZE as u64;
        let mut rest = &self.tail[..];
        while !rest.is_empty() {
            let base = position - position % file_size;
            let size = rest.len().min((base + file_size - position) as usize);
            let path = self.dir.join(file_name(base));
            let file = make(disk, &path, file_size)?;
            file.write_at(&rest[..size], position - base)
                .map_err(|short| failed_at("write", &path, position - base, &short.source))?;
            position += size as u64;
            rest = &rest[size..];
        }
        self.tail.clear();
        self.tail_from = self.count;
        Ok(())
    }
}

fn make(disk: &dyn Disk, path: &std::path::Path, size: u64) -> Result<Arc<dyn DiskFile>> {
    let file = disk
        .create(path)
        .map_err(|error| failed("create", path, &error))?;
    if file.len().unwrap_or(0) != size {
        file.set_len(size)
            .map_err(|error| failed("extend", path, &error))?;
    }
    Ok(file)
}

struct NewIndex {
    dir: PathBuf,
    shape: Shape,
    header: Header,
    /// Name of the file being made, of the one before if none is.
    name: u64,
    slots: Vec<u32>,
    entries: Vec<u8>,
    entries_from: u32,
    newest: (u64, u32),
}

impl NewIndex {
    fn add(&mut self, disk: &dyn Disk, found: &Record<'_>) -> Result<()> {
        if !record::is_indexed(found.sys_flag) {
            return Ok(());
        }
        let marks = record::scan_properties(found.properties);
        let mut hashes = Vec::new();
        index_hashes(key_prefix(found.topic), &marks, |hash| hashes.push(hash));
        for hash in hashes {
            if self.header.entry_count == self.shape.entry_count {
                self.end(disk)?;
            }
            self.put(disk, hash, found.log_offset, found.store_timestamp_ms)?;
        }
        Ok(())
    }

    fn put(&mut self, disk: &dyn Disk, hash: i32, log_offset: u64, time_ms: i64) -> Result<()> {
        if self.header.entry_count == 0 {
            self.name = time_name(time_ms).max(self.name + 1);
            self.header = Header {
                begin_timestamp_ms: time_ms,
                begin_log_offset: log_offset,
                entry_count: 1,
                ..Header::default()
            };
            self.slots = vec![0; self.shape.slot_count as usize];
            self.entries_from = 1;
        }
        let seconds = (time_ms - self.header.begin_timestamp_ms) / 1000;
        let slot = self.shape.slot_of(hash) as usize;
        let number = self.header.entry_count;
        let entry = IndexEntry {
            hash,
            log_offset: log_offset as i64,
            seconds: seconds.clamp(0, i64::from(i32::MAX)) as i32,
            previous: self.slots[slot] as i32,
        };
        self.header.slot_count += u32::from(self.slots[slot] == 0);
        self.slots[slot] = number;
        self.entries.extend_from_slice(&entry.encode());
        self.header.entry_count += 1;
        self.header.end_log_offset = log_offset;
        self.header.end_timestamp_ms = time_ms;
        if self.entries.len() >= ENTRIES_MAX {
            self.write(disk)?;
        }
        Ok(())
    }

    fn path(&self) -> PathBuf {
        self.dir.join(format!("{:017}", self.name))
    }

    fn write(&mut self, disk: &dyn Disk) -> Result<()> {
        let path = self.path();
        let file = make(disk, &path, self.shape.file_size())?;
        let at = self.shape.entry_at(self.entries_from);
        file.write_at(&self.entries, at)
            .map_err(|short| failed_at("write", &path, at, &short.source))?;
        self.entries.clear();
        self.entries_from = self.header.entry_count;
        Ok(())
    }

    /// Completes the file.
    fn end(&mut self, disk: &dyn Disk) -> Result<()> {
        if self.header.entry_count == 0 {
            return Ok(());
        }
        self.write(disk)?;
        let path = self.path();
        let file = make(disk, &path, self.shape.file_size())?;
        let mut bytes = Vec::with_capacity(self.slots.len() * SLOT_SIZE as usize);
        for slot in &self.slots {
            bytes.extend_from_slice(&slot.to_be_bytes());
        }
        file.write_at(&bytes, HEADER_SIZE)
            .and_then(|()| file.write_at(&self.header.encode(), 0))
            .map_err(|short| failed_at("write", &path, 0, &short.source))?;
        self.newest = (self.name, self.header.entry_count);
        self.header.entry_count = 0;
        Ok(())
    }
}

impl Rebuild {
    /// Prepares `out`, an empty directory: `out/consumequeue/TOPIC/ID/` for each of `queues`,
    /// `out/index/` with `with_index`.
    pub fn new(
        disk: Arc<dyn Disk>,
        settings: &Settings,
        out: PathBuf,
        queues: &[(String, i32)],
        queue_file_size: u64,
        with_index: bool,
    ) -> Result<Rebuild> {
        let root = &settings.root;
        let notes = notes_of(&*disk, root);
        let known_count = |topic: &str, id: i32| {
            let known = notes
                .queues
                .iter()
                .find(|known| known.topic == topic && known.id == id);
            known.map_or(0, |known| known.count)
        };
        let mut made = Made {
            disk: Arc::clone(&disk),
            queues: HashMap::new(),
            file_size: queue_file_size,
            dropped: Dropped::new(&notes.dropped),
            delay_levels_ms: settings.delay_levels_ms.clone(),
            index: None,
        };
        let create = |dir: &PathBuf| {
            disk.create_dir_all(dir)
                .map_err(|error| failed("create", dir, &error))
        };
        for (topic, id) in queues {
            let dir = out.join("consumequeue").join(topic).join(id.to_string());
            create(&dir)?;
            let by_id = made.queues.entry(topic.as_bytes().to_vec()).or_default();
            let old_dir = root.join("consumequeue").join(topic).join(id.to_string());
            by_id.insert(
                *id,
                NewQueue {
                    dir,
                    old_dir,
                    begin: 0,
                    count: 0,
                    tail_from: 0,
                    tail: Vec::new(),
                    last_log_offset: 0,
                    known_count: known_count(topic, *id),
                },
            );
        }
        if with_index {
            let dir = out.join("index");
            create(&dir)?;
            made.index = Some(NewIndex {
                dir,
                shape: shape_of(settings),
                header: Header::default(),
                name: 0,
                slots: Vec::new(),
                entries: Vec::new(),
                entries_from: 1,
                newest: (0, 0),
            });
        }
        let walk = LogWalk::new(disk, root.join("commitlog"), settings.segment_size)?;
        Ok(Rebuild { walk, made })
    }

    pub fn progress(&self) -> (u64, u64) {
        (self.walk.done(), self.walk.size())
    }

    pub fn is_at_end(&self) -> bool {
        self.walk.is_at_end()
    }

    pub fn step(&mut self, size: u64) -> Result<()> {
        self.walk.step(size, &mut self.made)
    }

    /// Writes and syncs the rest; answers name and entry count of the newest index file.
    pub fn finish(&mut self) -> Result<(u64, u32)> {
        let made = &mut self.made;
        let disk = Arc::clone(&made.disk);
        let mut dirs = Vec::new();
        let end = self.walk.counted.end;
        for queue in made.queues.values_mut().flat_map(HashMap::values_mut) {
            queue.fill(&*disk, made.file_size, end, &self.walk.regions)?;
            queue.write(&*disk, made.file_size)?;
            dirs.push(queue.dir.clone());
        }
        let mut newest = (0, 0);
        if let Some(index) = &mut made.index {
            index.end(&*disk)?;
            newest = index.newest;
            dirs.push(index.dir.clone());
        }
        for dir in dirs {
            for entry in disk
                .list(&dir)
                .map_err(|error| failed("list", &dir, &error))?
            {
                let path = dir.join(entry.name);
                disk.open(&path)
                    .and_then(|file| file.sync_data())
                    .map_err(|error| failed("sync", &path, &error))?;
            }
            disk.sync_dir(&dir)
                .map_err(|error| failed("sync", &dir, &error))?;
        }
        Ok(newest)
    }
}

/// Tells our marker the name of the newest index file, so that the next start does not miss the old one.
pub fn note_index(disk: &dyn Disk, root: &std::path::Path, newest: (u64, u32)) -> Result<()> {
    let Some(mut marker) = Marker::read(disk, root)? else {
        return Ok(());
    };
    for point in [&mut marker.written, &mut marker.synced] {
        point.index_name = newest.0;
        point.index_count = newest.1;
    }
    marker.write(disk, root, true)
}
