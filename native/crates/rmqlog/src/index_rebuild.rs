//! The index at a start: which files there are, which entries can be believed, and their slots computed
//! anew where a crash may have left old ones.

use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{failed, Result};
use crate::file_cache::FileCache;
use crate::index::{IndexFile, IndexSet, Page, PAGE_SIZE, SCAN_SIZE, SLOTS_PER_PAGE};
use crate::index_format::{Header, IndexEntry, Shape, ENTRY_SIZE, HEADER_SIZE, SLOT_SIZE};

impl IndexSet {
    /// Takes the files that are there. `false`: their sizes do not fit the settings, so nobody can
    /// tell slots from entries.
    pub fn load(&mut self, cache: &mut FileCache) -> Result<bool> {
        let dir = self.dir.clone();
        let entries = self
            .disk
            .list(&dir)
            .map_err(|error| failed("list", &dir, &error))?;
        for entry in entries.into_iter().filter(|entry| !entry.is_dir) {
            let Ok(name) = entry.name.parse::<u64>() else {
                continue;
            };
            if entry.len == 0 {
                continue; // made and not used: the next file of that name takes its place
            }
            if entry.len != self.shape.file_size() {
                return Ok(false);
            }
            let path = dir.join(&entry.name);
            let empty = Header {
                entry_count: 1,
                ..Header::default()
            };
            self.files.push(IndexFile::new(path, name, empty, true));
            let index = self.files.len() - 1;
            let mut bytes = [0u8; HEADER_SIZE as usize];
            self.read(cache, index, &mut bytes, 0)?;
            let mut header = Header::decode(&bytes);
            header.entry_count = header.entry_count.min(self.shape.entry_count);
            self.files[index].header = header;
            self.files[index].persisted = header.entry_count;
        }
        self.files.sort_by_key(|file| file.name);
        self.unsealed_from = self.files.len().saturating_sub(1);
        Ok(true)
    }

    /// Where the first file begins that cannot be believed after an unclean stop, by Apache's rule:
    /// its newest store time is later than what the checkpoint calls safe.
    pub fn first_after(&self, timestamp_ms: i64) -> usize {
        self.files
            .iter()
            .position(|file| file.header.end_timestamp_ms > timestamp_ms)
            .unwrap_or(self.files.len())
    }

    /// How many entries the files from `first` on claim to have.
    pub fn entries_from(&self, first: usize) -> u64 {
        let files = self.files.get(first..).unwrap_or_default();
        let counts = files.iter().map(|file| u64::from(file.header.entry_count));
        counts.sum()
    }

    /// Takes the files from `first` on into a set of their own, to be read through there.
    pub fn split_off(&mut self, first: usize) -> IndexSet {
        let mut rest = IndexSet::new(Arc::clone(&self.disk), self.dir.clone(), self.shape);
        rest.files = self.files.split_off(first.min(self.files.len()));
        self.unsealed_from = self.files.len();
        rest
    }

    /// Puts files back that were split off and read through.
    pub fn join(&mut self, rest: IndexSet) {
        self.unsealed_from = self.files.len() + rest.unsealed_from;
        self.files.extend(rest.files);
        // Whatever comes next goes into the last file, and its slots are in memory only where it was read.
        self.unsealed_from = self.unsealed_from.min(self.files.len().saturating_sub(1));
    }

    /// The first file with an entry for a record at or behind `log_offset`.
    pub fn first_reaching(&self, log_offset: u64) -> usize {
        self.files
            .iter()
            .position(|file| file.header.end_log_offset >= log_offset)
            .unwrap_or(self.files.len())
    }

    /// Where the file of this name is, and whether it is there at all: else where it would be.
    pub fn position_of(&self, name: u64) -> (usize, bool) {
        let position = self.files.partition_point(|file| file.name < name);
        (
            position,
            self.files
                .get(position)
                .is_some_and(|file| file.name == name),
        )
    }

    /// Reads the entries of the files from `first` on and computes their slots anew, in memory. The
    /// index ends before the first entry that points to `log_end` or behind it, or makes no sense.
    /// `is_complete` says that every record before `log_end` had all its entries written; else the
    /// newest record's are taken out too, since some may be missing. Answers from which log position on
    /// records must be indexed again, and the files to remove.
    pub fn rebuild(
        &mut self,
        cache: &mut FileCache,
        first: usize,
        log_end: u64,
        is_complete: bool,
    ) -> Result<(u64, Vec<PathBuf>)> {
        let mut index = first;
        let mut is_believed = is_complete;
        let mut undone = None;
        while index < self.files.len() {
            let stop;
            (stop, undone) = self.rebuild_file(cache, index, log_end, is_complete)?;
            is_believed = is_complete && stop != Stop::Senseless;
            if stop != Stop::Full {
                break;
            }
            index += 1;
        }
        // The file where it ended stays, as the newest, if anything is left in it.
        let has_rest = self
            .files
            .get(index)
            .is_some_and(|file| file.header.entry_count > 1);
        let keep = if has_rest {
            index + 1
        } else {
            index.min(self.files.len())
        };
        let removed: Vec<PathBuf> = self.files.drain(keep..).map(|file| file.path).collect();
        self.unsealed_from = first.min(self.files.len().saturating_sub(1));
        let resume = match self.files.last() {
            _ if is_believed => log_end,
            // A record whose entries span two files is rather found twice than not at all.
            Some(last) if undone == Some(last.header.end_log_offset) => last.header.end_log_offset,
            Some(last) => last.header.end_log_offset + 1,
            None => 0,
        };
        Ok((resume, removed))
    }

    /// Computes one file's slots from its entries; says how far those went, and which record's were
    /// taken out.
    fn rebuild_file(
        &mut self,
        cache: &mut FileCache,
        index: usize,
        log_end: u64,
        is_complete: bool,
    ) -> Result<(Stop, Option<u64>)> {
        let claimed = self.files[index].header.entry_count;
        let mut chain = Chain::new(self.shape, self.files[index].header.begin_log_offset);
        let mut stop = Stop::Claimed;
        let mut bytes = vec![0u8; SCAN_SIZE / ENTRY_SIZE * ENTRY_SIZE];
        while chain.number < claimed && stop == Stop::Claimed {
            let want = ((claimed - chain.number) as usize * ENTRY_SIZE).min(bytes.len());
            self.read(
                cache,
                index,
                &mut bytes[..want],
                self.shape.entry_at(chain.number),
            )?;
            for raw in bytes[..want].chunks_exact(ENTRY_SIZE) {
                stop = chain.add(IndexEntry::decode(raw), log_end);
                if stop != Stop::Claimed {
                    break;
                }
            }
        }
        if stop == Stop::Claimed && claimed == self.shape.entry_count {
            stop = Stop::Full;
        }
        let is_newest = stop != Stop::Full || index + 1 == self.files.len();
        let mut undone = None;
        if is_newest && (!is_complete || stop == Stop::Senseless) {
            undone = chain.undo_group();
        }
        let file = &mut self.files[index];
        if chain.number != file.header.entry_count {
            let seconds = i64::from(chain.last_seconds);
            file.header.end_timestamp_ms = file.header.begin_timestamp_ms + seconds * 1000;
        }
        file.header.entry_count = chain.number;
        file.header.slot_count = chain.used;
        file.header.end_log_offset = chain.last_offset;
        file.persisted = chain.number;
        file.tail.clear();
        file.has_slots_on_disk = false;
        file.pages = chain.pages();
        Ok((stop, undone))
    }

    /// Forgets all files; answers which to remove.
    pub fn clear(&mut self) -> Vec<PathBuf> {
        self.unsealed_from = 0;
        self.files.drain(..).map(|file| file.path).collect()
    }
}

/// Why a walk over a file's entries ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// With the last entry the header claims.
    Claimed,
    /// With the last entry the file can have.
    Full,
    /// Before an entry that points behind the log's safe end.
    Beyond,
    /// Before an entry that cannot have been written so.
    Senseless,
}

/// The slots of one file, computed from its entries in order.
struct Chain {
    shape: Shape,
    slots: Vec<u32>,
    used: u32,
    /// Number of the next entry.
    number: u32,
    last_offset: u64,
    last_seconds: i32,
    /// Entries of the newest record, and the record before it.
    group: Vec<IndexEntry>,
    before_group: (u64, i32),
}

impl Chain {
    fn new(shape: Shape, begin_log_offset: u64) -> Chain {
        Chain {
            shape,
            slots: vec![0; shape.slot_count as usize],
            used: 0,
            number: 1,
            last_offset: begin_log_offset,
            last_seconds: 0,
            group: Vec::new(),
            before_group: (begin_log_offset, 0),
        }
    }

    fn add(&mut self, entry: IndexEntry, log_end: u64) -> Stop {
        let slot = self.shape.slot_of(entry.hash.max(0)) as usize;
        let Ok(offset) = u64::try_from(entry.log_offset) else {
            return Stop::Senseless;
        };
        if entry.hash < 0
            || entry.seconds < 0
            || offset < self.last_offset
            || entry.previous as u32 != self.slots[slot]
        {
            return Stop::Senseless;
        }
        if offset >= log_end {
            return Stop::Beyond;
        }
        if self.group.is_empty() || offset != self.last_offset {
            self.before_group = (self.last_offset, self.last_seconds);
            self.group.clear();
        }
        self.group.push(entry);
        self.used += u32::from(self.slots[slot] == 0);
        self.slots[slot] = self.number;
        self.last_offset = offset;
        self.last_seconds = entry.seconds;
        self.number += 1;
        Stop::Claimed
    }

    /// Takes out the newest record's entries; answers which record that was.
    fn undo_group(&mut self) -> Option<u64> {
        let undone = (!self.group.is_empty()).then_some(self.last_offset);
        while let Some(entry) = self.group.pop() {
            self.number -= 1;
            self.slots[self.shape.slot_of(entry.hash) as usize] = entry.previous as u32;
            self.used -= u32::from(entry.previous == 0);
            (self.last_offset, self.last_seconds) = self.before_group;
        }
        undone
    }

    fn pages(&self) -> Vec<Option<Page>> {
        let page = |part: &[u32]| {
            let mut bytes = Box::new([0u8; PAGE_SIZE]);
            for (place, slot) in bytes.chunks_exact_mut(SLOT_SIZE as usize).zip(part) {
                place.copy_from_slice(&slot.to_be_bytes());
            }
            Some(Page {
                bytes,
                is_dirty: true,
            })
        };
        self.slots.chunks(SLOTS_PER_PAGE).map(page).collect()
    }
}
