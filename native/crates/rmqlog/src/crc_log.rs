//! Writing the checksums of whole records: one entry a record, many of them together.
//!
//! An entry is made with its record and stays in memory, where readers find it, until there are enough to be
//! written, or the segment is full, or the persister comes by. There is one pen: whoever writes a turn takes
//! it along when a write is due, and at other times the persister takes it.
//!
//! Nobody waits for these files. An entry that a kill or a power cut takes leaves its record with the checksum
//! of its body, as Apache has it, until the next start looks the record over and makes a new one. What must
//! not be is an entry that outlives its record: before a start lets anything be appended, entries behind the
//! log's end are cut off, durably. The persister writes and syncs entries before it calls their records safe,
//! and seals the file of a segment that is full: a digest of all its entries, chained to that of the segment
//! before.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::ahead::ReadAhead;
use crate::crc_file::{
    count_of, digest, dir_of, list, read_seal, record_crc, CrcReader, Entry, Seal, Sealed,
    BLOCK_COUNT, ENTRY_SIZE, HEAD_SIZE, SEAL_AT, SEAL_SIZE,
};
use crate::crc_pen::{CrcPen, CrcWork, Record};
use crate::damage::Hole;
use crate::disk::{Disk, DiskFile};
use crate::error::{failed, Result};
use crate::remove::remove_if_there;
use crate::scan::{LogFiles, Scanner};
use crate::segment::file_name;

/// So many entries in memory are due to be written: whole blocks of readers.
const DUE_COUNT: usize = 12 * BLOCK_COUNT;
/// So are those of so many bytes of the log: a start makes those anew that a kill took.
const DUE_LOG_SIZE: u64 = 16 << 20;
/// Entries written in one turn; more only wait after a full disk.
const TURN_COUNT_MAX: usize = 2 * DUE_COUNT;
/// Entries that may wait, for a full disk or a slow one; more are given up.
const WAITING_MAX: usize = 1 << 20;
/// Bytes of the log whose missing entries a start makes.
const ADOPT_SIZE_MAX: u64 = 64 << 20;
/// Entries passed one by one before the search halves.
const NEAR_MAX: usize = 16;

/// What the persister finds.
pub enum Waiting {
    Nothing,
    Some(CrcWork),
    /// Somebody is writing entries; the next who asks gets the pen.
    Away,
}

/// Checksums of an open store's records, as readers and the persister see them.
pub struct CrcLog {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    segment_size: u64,
    reader: CrcReader,
    /// Not here while entries are being written.
    pen: Option<Box<CrcPen>>,
    /// Records in the log's files whose entries are in no file yet, in log order.
    tail: Vec<Record>,
    /// Where in `tail` the last one looked up is.
    cursor: usize,
    /// The persister came for the pen, and it was not here.
    is_wanted: bool,
    /// No more entries are written.
    has_failed: bool,
    touched: Vec<(PathBuf, Arc<dyn DiskFile>)>,
    created: Vec<PathBuf>,
    full: Vec<u64>,
    news: Option<String>,
}

impl CrcLog {
    /// For a log that ends at `end`; [`settle`] has been done.
    pub fn open(disk: Arc<dyn Disk>, root: &Path, segment_size: u64, end: u64) -> CrcLog {
        let dir = dir_of(root);
        let full = list(&*disk, &dir)
            .into_keys()
            .filter(|&base| base + segment_size <= end)
            .filter(|&base| {
                matches!(
                    read_seal(&*disk, &dir.join(file_name(base))),
                    Ok(Sealed::No)
                )
            })
            .collect();
        let pen = CrcPen::new(Arc::clone(&disk), dir.clone(), segment_size);
        CrcLog {
            reader: CrcReader::new(Arc::clone(&disk), root),
            disk,
            dir,
            segment_size,
            pen: Some(Box::new(pen)),
            tail: Vec::new(),
            cursor: 0,
            is_wanted: false,
            has_failed: false,
            touched: Vec::new(),
            created: Vec::new(),
            full,
            news: None,
        }
    }

    /// Takes records that are in the log's files now.
    pub fn added(&mut self, records: &[Record]) {
        if self.has_failed {
            return;
        }
        if self.tail.len() + records.len() > WAITING_MAX {
            self.tail.clear();
        }
        self.tail.extend_from_slice(records);
    }

    /// What is to be written with the next turn, if it is time.
    pub fn take_due(&mut self) -> Option<CrcWork> {
        let (&(first, _), &(last, _)) = (self.tail.first()?, self.tail.last()?);
        let is_due = self.tail.len() >= DUE_COUNT
            || last - first >= DUE_LOG_SIZE
            || self.base_of(first) != self.base_of(last);
        if !is_due || self.is_wanted {
            return None;
        }
        self.take(TURN_COUNT_MAX)
    }

    /// All that is in no file yet, for the persister.
    pub fn take_all(&mut self) -> Waiting {
        self.is_wanted = self.pen.is_none();
        if self.is_wanted {
            return Waiting::Away;
        }
        if self.tail.is_empty() || mutant!("crcs_left_in_memory") {
            return Waiting::Nothing;
        }
        self.take(usize::MAX)
            .map_or(Waiting::Nothing, Waiting::Some)
    }

    fn take(&mut self, count_max: usize) -> Option<CrcWork> {
        let pen = self.pen.take()?;
        let count = self.tail.len().min(count_max);
        Some(CrcWork {
            pen,
            records: self.tail[..count].to_vec(),
            done: 0,
        })
    }

    /// Takes the pen back, and note of what it wrote. What it did not write waits on.
    pub fn wrote(&mut self, mut work: CrcWork) {
        let written = std::mem::take(&mut work.pen.written);
        for next in written.appended {
            self.reader
                .appended(next.base, &next.file, &next.entries, next.count);
            let is_last =
                |(_, known): &(PathBuf, Arc<dyn DiskFile>)| Arc::ptr_eq(known, &next.file);
            if !self.touched.last().is_some_and(is_last) {
                self.touched.push((next.path, next.file));
            }
        }
        self.created.extend(written.created);
        self.full.extend(written.full);
        self.news = self.news.take().or(written.news);
        if let Some(&(last, _)) = work.records[..work.done].last() {
            let done = self.tail.partition_point(|&(at, _)| at <= last);
            self.tail.drain(..done);
        }
        self.has_failed = work.pen.has_failed;
        if self.has_failed {
            self.tail = Vec::new();
        }
        self.pen = Some(work.pen);
    }

    /// Makes entries for records at the log's end that have none: a kill came before they were written, or
    /// Apache wrote the records. Where much has none, it stays so.
    pub fn adopt(&mut self, files: &LogFiles, end: u64, holes: &[Hole]) {
        let mut base = (end - end % self.segment_size).max(files.min);
        let mut known = last_entry(&*self.disk, &self.dir, base);
        let before = base.checked_sub(self.segment_size);
        if let Some(before) = before.filter(|&before| known.is_none() && before >= files.min) {
            // A kill soon after the segment began may have taken the last entries of the one before.
            let path = self.dir.join(file_name(before));
            if matches!(read_seal(&*self.disk, &path), Ok(Sealed::No)) {
                known = last_entry(&*self.disk, &self.dir, before);
                base = known.map_or(base, |_| before);
            }
        }
        let from = known.map_or(base, |entry| base + u64::from(entry.at));
        if end <= from || end - from > ADOPT_SIZE_MAX {
            return;
        }
        let last = known.map(|_| from);
        let mut records = Vec::new();
        let mut scanner = Scanner::whole(files, from, end, holes);
        // What cannot be read now stays without entries.
        while let Ok(Ok(found)) = scanner.next_record() {
            if last.is_none_or(|last| found.log_offset > last) {
                records.push((found.log_offset, record_crc(found.bytes)));
            }
        }
        self.added(&records);
        if let Some(mut work) = self.take(usize::MAX) {
            work.write();
            self.wrote(work);
        }
    }

    fn base_of(&self, log_offset: u64) -> u64 {
        log_offset - log_offset % self.segment_size
    }

    /// The checksum of the record at `log_offset`, if it is known.
    pub fn expected(&mut self, log_offset: u64) -> Option<u32> {
        let is_in_memory = self.tail.first().is_some_and(|&(at, _)| at <= log_offset);
        if is_in_memory && !mutant!("crcs_in_memory_not_asked") {
            return self.find(log_offset);
        }
        self.reader.expected(self.base_of(log_offset), log_offset)
    }

    /// How the files are read.
    pub fn ahead(&mut self) -> &mut ReadAhead {
        self.reader.ahead()
    }

    fn find(&mut self, log_offset: u64) -> Option<u32> {
        // Readers go forward, past the records of other queues.
        let mut place = self.cursor.min(self.tail.len());
        let near = (place + NEAR_MAX).min(self.tail.len());
        while place < near && self.tail[place].0 < log_offset {
            place += 1;
        }
        if self.tail.get(place).is_none_or(|&(at, _)| at != log_offset) {
            let found = self.tail.binary_search_by_key(&log_offset, |&(at, _)| at);
            place = found.ok()?;
        }
        self.cursor = place;
        Some(self.tail[place].1)
    }

    /// Files written since the last call, to be synced.
    pub fn take_touched(&mut self) -> Vec<(PathBuf, Arc<dyn DiskFile>)> {
        std::mem::take(&mut self.touched)
    }

    pub fn take_created(&mut self) -> Vec<PathBuf> {
        std::mem::take(&mut self.created)
    }

    /// Segments that became full since the last call, to be sealed.
    pub fn take_full(&mut self) -> Vec<u64> {
        let mut full = std::mem::take(&mut self.full);
        full.sort_unstable();
        full
    }

    /// What an operator should know, once.
    pub fn take_news(&mut self) -> Option<String> {
        self.news.take()
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Forgets a segment that is removed.
    pub fn forget(&mut self, base: u64) {
        let behind = base + self.segment_size;
        let gone = self.tail.partition_point(|&(at, _)| at < behind);
        self.tail.drain(..gone);
        self.reader.forget(base);
    }
}

/// The last whole entry of a segment.
fn last_entry(disk: &dyn Disk, dir: &Path, base: u64) -> Option<Entry> {
    let path = dir.join(file_name(base));
    let found = disk
        .exists(&path)
        .then(|| find_last(disk, &path, base, u64::MAX));
    found?.ok()?.1
}

/// How many entries of a file are to stay so that the last one is whole and before `limit`, and that one.
fn find_last(
    disk: &dyn Disk,
    path: &Path,
    base: u64,
    limit: u64,
) -> std::io::Result<(u64, Option<Entry>)> {
    let file = disk.open(path)?;
    let mut count = count_of(file.len()?);
    let mut bytes = vec![0u8; BLOCK_COUNT * ENTRY_SIZE];
    while count > 0 {
        let size = count.min(BLOCK_COUNT as u64) as usize;
        let wanted = &mut bytes[..size * ENTRY_SIZE];
        let at = HEAD_SIZE + (count - size as u64) * ENTRY_SIZE as u64;
        let got = file.read_at(wanted, at)?;
        let last = (0..got / ENTRY_SIZE).rev().find_map(|number| {
            let entry = Entry::decode(&wanted[number * ENTRY_SIZE..], base)?;
            (base + u64::from(entry.at) < limit).then_some((number, entry))
        });
        if let Some((number, entry)) = last {
            return Ok((count - size as u64 + number as u64 + 1, Some(entry)));
        }
        count -= size as u64;
    }
    Ok((0, None))
}

/// Takes away what belongs to no record of the log from `min` to `end`, durably: entries there of records
/// that are to come would contradict them. From `trusted_to` on entries belong to other records too.
pub fn settle(disk: &dyn Disk, root: &Path, files: &LogFiles, end: u64) -> Result<()> {
    let dir = dir_of(root);
    let limit = end.min(files.trusted_crcs_to());
    let mut has_removed = false;
    for (base, len) in list(disk, &dir) {
        let path = dir.join(file_name(base));
        if base >= limit || base + files.segment_size <= files.min {
            remove_if_there(disk, &path)?;
            has_removed = true;
        } else if limit - base <= files.segment_size {
            let fail = |error| failed("cut", &path, &error);
            let (count, _) = find_last(disk, &path, base, limit).map_err(fail)?;
            let size = HEAD_SIZE + count * ENTRY_SIZE as u64;
            if len > size {
                let file = disk.open(&path).map_err(fail)?;
                file.set_len(size).map_err(fail)?;
                file.write_at(&[0; SEAL_SIZE], SEAL_AT)
                    .map_err(|short| fail(short.source))?;
                file.sync_data().map_err(fail)?;
            }
        }
    }
    if has_removed {
        disk.sync_dir(&dir)
            .map_err(|error| failed("sync", &dir, &error))?;
    }
    Ok(())
}

/// Writes the digest of a full segment's entries, and answers the file, to be synced. One that is gone by
/// now, or cannot be read, gets none.
pub fn seal(
    disk: &dyn Disk,
    dir: &Path,
    base: u64,
    segment_size: u64,
) -> Option<(PathBuf, Arc<dyn DiskFile>)> {
    let path = dir.join(file_name(base));
    let file = disk.open(&path).ok()?;
    let count = count_of(file.len().ok()?);
    let before = base.checked_sub(segment_size);
    let before = before.map(|before| dir.join(file_name(before)));
    let before = before.and_then(|path| read_seal(disk, &path).ok());
    let previous = match before {
        Some(Sealed::As(seal)) => seal.digest,
        _ => [0; 32],
    };
    let digest = digest(&*file, base, count, &previous).ok()??;
    let seal = Seal {
        count,
        previous,
        digest,
    };
    file.write_at(&seal.encode(), SEAL_AT).ok()?;
    Some((path, file))
}
