//! The key index: from the hash of `topic#key` to log positions (Apache's `IndexFile`, `IndexService`).
//!
//! A file is a header of 40 bytes, hash slots of 4, entries of 20 (`i32 hash | i64 log offset | i32
//! seconds since begin | i32 previous entry of the slot`). Entry numbers begin at 1; a slot holds the
//! newest entry of its chain. Indexed are UNIQ_KEY, every word of KEYS, and TAGS as `topic#T#tags`.
//!
//! The newest file's slots are kept in memory, page by page as they are touched, and written when the
//! file is full or the store closes: they can be computed from the entries, which go to disk in batches.

use std::path::PathBuf;
use std::sync::Arc;

use crate::byte_queue::ByteQueue;
use crate::disk::{Disk, DiskFile};
use crate::error::{failed, failed_at, Result, StoreError};
use crate::file_cache::{FileCache, FileKey};
use crate::index_format::{int_at, time_name, Header, IndexEntry, Shape, ENTRY_SIZE, SLOT_SIZE};

pub(crate) const SLOTS_PER_PAGE: usize = 1024;
pub(crate) const PAGE_SIZE: usize = SLOTS_PER_PAGE * SLOT_SIZE as usize;
/// Bytes of entries read or written at once.
pub(crate) const SCAN_SIZE: usize = 1 << 20;
/// Slot pages written at once.
const PAGES_PER_WRITE: usize = 256;

/// One page of the slot table, as the file has it.
pub(crate) struct Page {
    pub(crate) bytes: Box<[u8; PAGE_SIZE]>,
    pub(crate) is_dirty: bool,
}

pub(crate) struct IndexFile {
    pub(crate) path: PathBuf,
    pub(crate) name: u64,
    pub(crate) header: Header,
    /// Slot pages touched since the file became the newest.
    pub(crate) pages: Vec<Option<Page>>,
    /// Whether the file may hold slots that are not in `pages`.
    pub(crate) has_slots_on_disk: bool,
    /// Entries below this number are in the file.
    pub(crate) persisted: u32,
    /// Entries from `persisted` on.
    pub(crate) tail: ByteQueue,
}

impl IndexFile {
    pub(crate) fn new(path: PathBuf, name: u64, header: Header, is_on_disk: bool) -> IndexFile {
        IndexFile {
            path,
            name,
            header,
            pages: Vec::new(),
            has_slots_on_disk: is_on_disk,
            persisted: header.entry_count,
            tail: ByteQueue::default(),
        }
    }

    /// Whether its time range and the query's have anything in common (Apache's `isTimeMatched`).
    fn overlaps(&self, begin_ms: i64, end_ms: i64) -> bool {
        let (first, last) = (self.header.begin_timestamp_ms, self.header.end_timestamp_ms);
        (begin_ms < first && end_ms > last)
            || (first..=last).contains(&begin_ms)
            || (first..=last).contains(&end_ms)
    }
}

/// Bytes on their way into an index file.
pub struct IndexWrite {
    pub path: PathBuf,
    pub file: Arc<dyn DiskFile>,
    /// Parts and where each goes.
    pub parts: Vec<(u64, Vec<u8>)>,
    name: u64,
    kind: WriteKind,
}

impl IndexWrite {
    /// The parts, those that follow one another put together.
    pub fn runs(&self) -> Vec<(u64, Vec<&[u8]>)> {
        let mut runs: Vec<(u64, Vec<&[u8]>)> = Vec::new();
        let mut end = None;
        for (at, bytes) in &self.parts {
            match runs.last_mut().filter(|_| end == Some(*at)) {
                Some((_, parts)) => parts.push(bytes),
                None => runs.push((*at, vec![bytes])),
            }
            end = Some(at + bytes.len() as u64);
        }
        runs
    }
}

enum WriteKind {
    /// Entries up to this number.
    Entries(u32),
    /// These slot pages.
    Pages(Vec<usize>),
}

/// All index files of a store.
pub struct IndexSet {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) shape: Shape,
    /// Oldest first; the last one takes new entries until it is full.
    pub(crate) files: Vec<IndexFile>,
    /// Files before this one are complete on disk.
    pub(crate) unsealed_from: usize,
    /// Why the index cannot go on, if it cannot; it is rebuilt at the next start.
    failure: Option<String>,
    /// Files made since the last sync.
    created: Vec<PathBuf>,
}

impl IndexSet {
    pub fn new(disk: Arc<dyn Disk>, dir: PathBuf, shape: Shape) -> IndexSet {
        IndexSet {
            disk,
            dir,
            shape,
            files: Vec::new(),
            unsealed_from: 0,
            failure: None,
            created: Vec::new(),
        }
    }

    /// Files made since the last call.
    pub fn take_created(&mut self) -> Vec<PathBuf> {
        std::mem::take(&mut self.created)
    }

    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Store time and log offset of the newest entry.
    pub fn last(&self) -> (i64, u64) {
        self.files.last().map_or((0, 0), |file| {
            (file.header.end_timestamp_ms, file.header.end_log_offset)
        })
    }

    /// Name and entry count of the newest file, as far as its entries are on disk.
    pub fn persisted(&self) -> (u64, u32) {
        self.files
            .last()
            .map_or((0, 0), |file| (file.name, file.persisted))
    }

    /// Store time of the last entry of the last file that is complete on disk, slots included.
    pub fn sealed_timestamp_ms(&self) -> i64 {
        let complete = self
            .unsealed_from
            .checked_sub(1)
            .and_then(|index| self.files.get(index));
        complete.map_or(0, |file| file.header.end_timestamp_ms)
    }

    /// Store time and log offset of the first entry that is in no file complete on disk; `None` if all are.
    pub fn unsealed_begin(&self) -> Option<(i64, u64)> {
        let mut unsealed = self.files[self.unsealed_from..].iter();
        let first = unsealed.find(|file| file.header.entry_count > 1)?;
        Some((
            first.header.begin_timestamp_ms,
            first.header.begin_log_offset,
        ))
    }

    /// Unwritten entries of all files, in bytes.
    pub fn tails_size(&self) -> usize {
        self.files[self.unsealed_from..]
            .iter()
            .map(|file| file.tail.len())
            .sum()
    }

    /// Adds one entry per hash for the record at `log_offset`. Records the index has passed already
    /// are left alone.
    pub fn put(
        &mut self,
        cache: &mut FileCache,
        hashes: &[i32],
        log_offset: u64,
        store_timestamp_ms: i64,
    ) {
        if self.failure.is_some() || log_offset < self.last().1 {
            return;
        }
        for &hash in hashes {
            if let Err(error) = self.put_one(cache, hash, log_offset, store_timestamp_ms) {
                self.failure = Some(error.to_string());
                return;
            }
        }
    }

    fn put_one(
        &mut self,
        cache: &mut FileCache,
        hash: i32,
        log_offset: u64,
        store_timestamp_ms: i64,
    ) -> Result<()> {
        let is_full = |file: &IndexFile| file.header.entry_count >= self.shape.entry_count;
        if self.files.last().is_none_or(is_full) {
            self.begin_file(store_timestamp_ms);
        }
        let slot = self.shape.slot_of(hash);
        let index = self.files.len() - 1;
        self.load_page(cache, index, slot as usize / SLOTS_PER_PAGE)?;
        let file = &mut self.files[index];
        let Some(page) = &mut file.pages[slot as usize / SLOTS_PER_PAGE] else {
            return Err(StoreError::Failed("index page missing".to_string()));
        };
        let at = slot as usize % SLOTS_PER_PAGE * SLOT_SIZE as usize;
        let header = &mut file.header;
        let mut previous = int_at(&page.bytes[..], at);
        if previous <= 0 || previous as u32 > header.entry_count {
            previous = 0;
        }
        let seconds = if header.begin_timestamp_ms <= 0 {
            0
        } else {
            ((store_timestamp_ms - header.begin_timestamp_ms) / 1000).clamp(0, i64::from(i32::MAX))
        };
        let entry = IndexEntry {
            hash,
            log_offset: log_offset as i64,
            seconds: seconds as i32,
            previous,
        };
        file.tail.push(&entry.encode());
        page.bytes[at..at + 4].copy_from_slice(&header.entry_count.to_be_bytes());
        page.is_dirty = true;
        if header.entry_count <= 1 {
            header.begin_log_offset = log_offset;
            header.begin_timestamp_ms = store_timestamp_ms;
        }
        if previous == 0 {
            header.slot_count += 1;
        }
        header.entry_count += 1;
        header.end_log_offset = log_offset;
        header.end_timestamp_ms = store_timestamp_ms;
        Ok(())
    }

    /// Starts a new file behind the full one, named by the time as Apache names them.
    fn begin_file(&mut self, now_ms: i64) {
        let mut name = time_name(now_ms);
        let mut header = Header {
            entry_count: 1,
            ..Header::default()
        };
        if let Some(last) = self.files.last() {
            name = name.max(last.name + 1);
            header.begin_timestamp_ms = last.header.end_timestamp_ms;
            header.end_timestamp_ms = last.header.end_timestamp_ms;
            header.begin_log_offset = last.header.end_log_offset;
            header.end_log_offset = last.header.end_log_offset;
        }
        let path = self.dir.join(format!("{name:017}"));
        self.files.push(IndexFile::new(path, name, header, false));
    }

    fn load_page(&mut self, cache: &mut FileCache, index: usize, page: usize) -> Result<()> {
        let page_count = (self.shape.slot_count as usize).div_ceil(SLOTS_PER_PAGE);
        let file = &mut self.files[index];
        if file.pages.is_empty() {
            file.pages.resize_with(page_count, || None);
        }
        if file.pages[page].is_some() {
            return Ok(());
        }
        let mut bytes = Box::new([0u8; PAGE_SIZE]);
        if file.has_slots_on_disk {
            let at = self.shape.slot_at((page * SLOTS_PER_PAGE) as u32);
            let size = self.page_size(page);
            self.read(cache, index, &mut bytes[..size], at)?;
        }
        self.files[index].pages[page] = Some(Page {
            bytes,
            is_dirty: false,
        });
        Ok(())
    }

    /// Bytes of a page that are slots: the last one may be short.
    fn page_size(&self, page: usize) -> usize {
        let slots = self.shape.slot_count as usize - page * SLOTS_PER_PAGE;
        slots.min(SLOTS_PER_PAGE) * SLOT_SIZE as usize
    }

    fn open_file(&mut self, cache: &mut FileCache, index: usize) -> Result<Arc<dyn DiskFile>> {
        let file = &self.files[index];
        if let Some(open) = cache.get(FileKey::Index(file.name)) {
            return Ok(open);
        }
        let path = &file.path;
        if !self.disk.exists(&self.dir) {
            let made = self.disk.create_dir_all(&self.dir);
            made.map_err(|error| failed("create", &self.dir, &error))?;
        }
        let open = self
            .disk
            .create(path)
            .map_err(|error| failed("create", path, &error))?;
        let size = open
            .len()
            .map_err(|error| failed("look at", path, &error))?;
        if size != self.shape.file_size() {
            open.set_len(self.shape.file_size())
                .map_err(|error| failed("set the length of", path, &error))?;
            self.created.push(path.clone());
        }
        cache.put(FileKey::Index(file.name), Arc::clone(&open));
        Ok(open)
    }

    pub(crate) fn read(
        &mut self,
        cache: &mut FileCache,
        index: usize,
        buffer: &mut [u8],
        at: u64,
    ) -> Result<()> {
        let file = self.open_file(cache, index)?;
        let path = &self.files[index].path;
        let got = file
            .read_at(buffer, at)
            .map_err(|error| failed_at("read", path, at, &error))?;
        if got < buffer.len() {
            let text = format!(
                "{}: read at byte {at}: the file is too short",
                path.display()
            );
            return Err(StoreError::Failed(text));
        }
        Ok(())
    }

    fn entry(&mut self, cache: &mut FileCache, index: usize, number: u32) -> Result<IndexEntry> {
        let file = &self.files[index];
        if number >= file.persisted {
            let at = (number - file.persisted) as usize * ENTRY_SIZE;
            return Ok(IndexEntry::decode(file.tail.get(at..at + ENTRY_SIZE)));
        }
        let mut bytes = [0u8; ENTRY_SIZE];
        self.read(cache, index, &mut bytes, self.shape.entry_at(number))?;
        Ok(IndexEntry::decode(&bytes))
    }

    fn slot(&mut self, cache: &mut FileCache, index: usize, slot: u32) -> Result<i32> {
        let file = &self.files[index];
        if let Some(Some(page)) = file.pages.get(slot as usize / SLOTS_PER_PAGE) {
            let at = slot as usize % SLOTS_PER_PAGE * SLOT_SIZE as usize;
            return Ok(int_at(&page.bytes[..], at));
        }
        if !file.has_slots_on_disk {
            return Ok(0);
        }
        let mut bytes = [0u8; SLOT_SIZE as usize];
        self.read(cache, index, &mut bytes, self.shape.slot_at(slot))?;
        Ok(i32::from_be_bytes(bytes))
    }

    /// Log offsets of the newest `count_max` entries under the hash within the times, ascending. Times
    /// count in the index's own whole seconds, as in Apache.
    pub fn find(
        &mut self,
        cache: &mut FileCache,
        hash: i32,
        count_max: usize,
        begin_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<u64>> {
        if let Some(failure) = &self.failure {
            return Err(StoreError::Failed(failure.clone()));
        }
        let mut found = Vec::new();
        for index in (0..self.files.len()).rev() {
            if self.files[index].overlaps(begin_ms, end_ms) {
                self.walk(cache, index, hash, count_max, begin_ms..=end_ms, &mut found)?;
            }
            let begins_before = self.files[index].header.begin_timestamp_ms < begin_ms;
            if begins_before || found.len() >= count_max {
                break;
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    fn walk(
        &mut self,
        cache: &mut FileCache,
        index: usize,
        hash: i32,
        count_max: usize,
        times: std::ops::RangeInclusive<i64>,
        found: &mut Vec<u64>,
    ) -> Result<()> {
        let header = self.files[index].header;
        let mut number = self.slot(cache, index, self.shape.slot_of(hash))?;
        while found.len() < count_max && number > 0 && (number as u32) < header.entry_count {
            let entry = self.entry(cache, index, number as u32)?;
            if entry.seconds < 0 {
                break;
            }
            let time = header.begin_timestamp_ms + i64::from(entry.seconds) * 1000;
            if entry.hash == hash && times.contains(&time) {
                found.push(entry.log_offset as u64);
            }
            // A chain only leads to older entries; anything else is a damaged one.
            if entry.previous >= number || time < *times.start() {
                break;
            }
            number = entry.previous;
        }
        Ok(())
    }

    /// Takes the oldest file out of the index if all its records lie before `log_min`; never the last
    /// file, and none that is not complete on disk. Answers the path to remove.
    pub fn leave_oldest(&mut self, cache: &mut FileCache, log_min: u64) -> Option<PathBuf> {
        let is_expired = |file: &&IndexFile| file.header.end_log_offset < log_min;
        if self.unsealed_from == 0 || self.files.len() < 2 || self.failure.is_some() {
            return None;
        }
        self.files.first().filter(is_expired)?;
        let file = self.files.remove(0);
        self.unsealed_from -= 1;
        cache.forget(FileKey::Index(file.name));
        Some(file.path)
    }

    /// The next bytes to write, if any. With `is_closing` the newest file's slots go too.
    pub fn take_write(
        &mut self,
        cache: &mut FileCache,
        is_closing: bool,
    ) -> Result<Option<IndexWrite>> {
        while self.unsealed_from < self.files.len() {
            let index = self.unsealed_from;
            let is_newest = index + 1 == self.files.len();
            if !self.files[index].tail.is_empty() {
                return self.entries_write(cache, index).map(Some);
            }
            if is_newest && !is_closing {
                return Ok(None);
            }
            let dirty: Vec<usize> = self.files[index]
                .pages
                .iter()
                .enumerate()
                .filter(|(_, page)| page.as_ref().is_some_and(|page| page.is_dirty))
                .map(|(number, _)| number)
                .take(PAGES_PER_WRITE)
                .collect();
            if !dirty.is_empty() {
                return self.pages_write(cache, index, dirty).map(Some);
            }
            if is_newest {
                return Ok(None);
            }
            self.files[index].pages = Vec::new();
            self.files[index].has_slots_on_disk = true;
            self.unsealed_from += 1;
        }
        Ok(None)
    }

    fn entries_write(&mut self, cache: &mut FileCache, index: usize) -> Result<IndexWrite> {
        let open = self.open_file(cache, index)?;
        let file = &self.files[index];
        let size = file.tail.len().min(SCAN_SIZE / ENTRY_SIZE * ENTRY_SIZE);
        let upto = file.persisted + (size / ENTRY_SIZE) as u32;
        let at = self.shape.entry_at(file.persisted);
        let mut parts = vec![(at, file.tail.get(0..size).to_vec())];
        if size == file.tail.len() {
            parts.push((0, file.header.encode().to_vec()));
        }
        let (path, name) = (file.path.clone(), file.name);
        Ok(IndexWrite {
            path,
            file: open,
            parts,
            name,
            kind: WriteKind::Entries(upto),
        })
    }

    fn pages_write(
        &mut self,
        cache: &mut FileCache,
        index: usize,
        dirty: Vec<usize>,
    ) -> Result<IndexWrite> {
        let open = self.open_file(cache, index)?;
        let sizes: Vec<usize> = dirty.iter().map(|&number| self.page_size(number)).collect();
        let shape = self.shape;
        let file = &mut self.files[index];
        let mut parts = Vec::with_capacity(dirty.len());
        for (&number, size) in dirty.iter().zip(sizes) {
            if let Some(page) = &mut file.pages[number] {
                page.is_dirty = false;
                let at = shape.slot_at((number * SLOTS_PER_PAGE) as u32);
                parts.push((at, page.bytes[..size].to_vec()));
            }
        }
        let (path, name) = (file.path.clone(), file.name);
        Ok(IndexWrite {
            path,
            file: open,
            parts,
            name,
            kind: WriteKind::Pages(dirty),
        })
    }

    /// The write is in its file: its entries leave memory.
    pub fn was_written(&mut self, write: &IndexWrite) {
        let file = self.files.iter_mut().find(|file| file.name == write.name);
        if let (Some(file), WriteKind::Entries(upto)) = (file, &write.kind) {
            let size = (*upto - file.persisted) as usize * ENTRY_SIZE;
            file.tail.drop_front(size);
            file.persisted = *upto;
        }
    }

    /// The write failed: it is tried again later.
    pub fn was_not_written(&mut self, write: &IndexWrite) {
        let file = self.files.iter_mut().find(|file| file.name == write.name);
        if let (Some(file), WriteKind::Pages(numbers)) = (file, &write.kind) {
            for &number in numbers {
                if let Some(page) = &mut file.pages[number] {
                    page.is_dirty = true;
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
