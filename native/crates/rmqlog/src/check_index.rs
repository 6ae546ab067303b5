//! Whether the index files say what the log says: `pyromq store check`.
//!
//! Records and entries both come in the order of the log, so they are compared side by side: every
//! record must have its entries, and no entry may point to anything else than a record (or to one that
//! was deleted by age, or is damaged). The slots and chains are computed anew and compared.

use std::path::PathBuf;
use std::sync::Arc;

use crate::check::{finding, is_within, Finding, Region};
use crate::disk::{Disk, DiskFile};
use crate::error::{failed, Result};
use crate::index_format::{
    int_at, key_hash, Header, IndexEntry, Shape, ENTRY_SIZE, HEADER_SIZE, SLOT_SIZE,
};
use crate::record::{self, Record};
use crate::state::{index_hashes, key_prefix};

const CHUNK_ENTRIES: u32 = 8192;

struct File {
    path: PathBuf,
    header: Header,
    file: Arc<dyn DiskFile>,
}

/// All index files of a store, beside a walk over its log.
pub struct IndexCheck {
    shape: Shape,
    files: Vec<File>,
    /// The file being read, its next entry, and its slots so far.
    current: usize,
    number: u32,
    chunk: Vec<IndexEntry>,
    chunk_from: u32,
    slots: Vec<u32>,
    chain_error: Option<u32>,
    /// Entries before it were compared.
    last_offset: i64,
    missing: Option<(u64, u64)>,
    wrong: Option<(PathBuf, u64, u64)>,
    pub findings: Vec<Finding>,
}

impl IndexCheck {
    /// Lists the directory; what is wrong with sizes and headers becomes findings.
    pub fn new(disk: &Arc<dyn Disk>, dir: PathBuf, shape: Shape) -> Result<IndexCheck> {
        let mut findings = Vec::new();
        let mut files = Vec::new();
        let entries = disk
            .list(&dir)
            .map_err(|error| failed("list", &dir, &error))?;
        for entry in entries.into_iter().filter(|entry| !entry.is_dir) {
            let path = dir.join(&entry.name);
            let Ok(name) = entry.name.parse::<u64>() else {
                findings.push(finding(
                    "index-stray-file",
                    path,
                    0,
                    entry.len,
                    "not an index file",
                ));
                continue;
            };
            if entry.len == 0 {
                continue; // made and not used
            }
            if entry.len != shape.file_size() {
                let what = format!(
                    "{} bytes, {} slots and {} entries make {}",
                    entry.len,
                    shape.slot_count,
                    shape.entry_count,
                    shape.file_size()
                );
                findings.push(finding("index-size", path, 0, entry.len, &what));
                continue;
            }
            let file = disk
                .open(&path)
                .map_err(|error| failed("open", &path, &error))?;
            let mut bytes = [0u8; HEADER_SIZE as usize];
            let got = file.read_at(&mut bytes, 0).unwrap_or(0);
            let header = Header::decode(&bytes);
            let count = int_at(&bytes, 36);
            if got < bytes.len() || count < 0 || count as u32 > shape.entry_count {
                let what = format!("the header says {count} entries");
                findings.push(finding("index-header", path, 36, 4, &what));
                continue;
            }
            files.push((name, File { path, header, file }));
        }
        files.sort_by_key(|(name, _)| *name);
        let mut check = IndexCheck {
            shape,
            files: files.into_iter().map(|(_, file)| file).collect(),
            current: 0,
            number: 1,
            chunk: Vec::new(),
            chunk_from: 1,
            slots: Vec::new(),
            chain_error: None,
            last_offset: -1,
            missing: None,
            wrong: None,
            findings,
        };
        check.begin_file();
        Ok(check)
    }

    fn begin_file(&mut self) {
        self.number = 1;
        self.chunk.clear();
        self.chunk_from = 1;
        self.chain_error = None;
        if self.current < self.files.len() {
            self.slots = vec![0; self.shape.slot_count as usize];
        }
    }

    fn peek(&mut self) -> Option<IndexEntry> {
        loop {
            let file = self.files.get(self.current)?;
            if self.number >= file.header.entry_count {
                self.end_file();
                self.current += 1;
                self.begin_file();
                continue;
            }
            let at = (self.number - self.chunk_from) as usize;
            if let Some(&entry) = self.chunk.get(at) {
                return Some(entry);
            }
            let count = (file.header.entry_count - self.number).min(CHUNK_ENTRIES);
            let mut bytes = vec![0u8; count as usize * ENTRY_SIZE];
            let place = self.shape.entry_at(self.number);
            // What cannot be read becomes zeros, which no chain has.
            drop(file.file.read_at(&mut bytes, place));
            self.chunk = bytes
                .chunks_exact(ENTRY_SIZE)
                .map(IndexEntry::decode)
                .collect();
            self.chunk_from = self.number;
        }
    }

    fn take(&mut self, entry: IndexEntry) {
        let slot = self.shape.slot_of(entry.hash.max(0)) as usize;
        if entry.previous as u32 != self.slots[slot] && self.chain_error.is_none() {
            self.chain_error = Some(self.number);
        }
        self.slots[slot] = self.number;
        self.number += 1;
    }

    fn end_file(&mut self) {
        let file = &self.files[self.current];
        let path = file.path.clone();
        if let Some(number) = self.chain_error {
            let at = self.shape.entry_at(number);
            let what = "an entry's chain leads elsewhere";
            self.findings.push(finding(
                "index-chain",
                path.clone(),
                at,
                ENTRY_SIZE as u64,
                what,
            ));
        }
        let used = self.slots.iter().filter(|&&slot| slot != 0).count();
        let is_newest = self.current + 1 == self.files.len();
        if file.header.slot_count as usize != used {
            let what = format!(
                "the header says {} slots are used, {used} are",
                file.header.slot_count
            );
            self.findings
                .push(slot_finding(is_newest, path.clone(), 32, 4, &what));
        }
        let mut first: Option<u64> = None;
        let mut count = 0;
        let mut bytes = vec![0u8; 1 << 20];
        for (part, slots) in self
            .slots
            .chunks(bytes.len() / SLOT_SIZE as usize)
            .enumerate()
        {
            let from = (part * bytes.len() / SLOT_SIZE as usize) as u32;
            let size = slots.len() * SLOT_SIZE as usize;
            let at = self.shape.slot_at(from);
            bytes.fill(0);
            drop(file.file.read_at(&mut bytes[..size], at));
            for (number, &slot) in slots.iter().enumerate() {
                if int_at(&bytes, number * SLOT_SIZE as usize) as u32 != slot {
                    first = first.or(Some(at + number as u64 * SLOT_SIZE));
                    count += 1;
                }
            }
        }
        if let Some(at) = first {
            let what = format!("{count} slots do not lead to the newest entry of their chain");
            self.findings
                .push(slot_finding(is_newest, path, at, SLOT_SIZE, &what));
        }
    }

    /// Compares the record's entries with those there are.
    pub fn record(&mut self, found: &Record<'_>, regions: &[Region], log_min: u64) {
        let log_offset = found.log_offset as i64;
        let mut wanted = Vec::new();
        let mut optional = 0;
        if record::is_indexed(found.sys_flag) {
            let marks = record::scan_properties(found.properties);
            index_hashes(key_prefix(found.topic), &marks, |hash| wanted.push(hash));
            optional = usize::from(!marks.tags.is_empty()); // 4.x does not index tags
        }
        while let Some(entry) = self.peek() {
            if entry.log_offset >= log_offset {
                break;
            }
            self.pass(entry, regions, log_min);
        }
        let mut has: Vec<bool> = vec![false; wanted.len()];
        while let Some(entry) = self.peek() {
            if entry.log_offset != log_offset {
                break;
            }
            let mut is_known = false;
            for (place, &hash) in wanted.iter().enumerate() {
                if hash == entry.hash {
                    has[place] = true;
                    is_known = true;
                }
            }
            if is_known {
                self.last_offset = log_offset;
                self.take(entry);
            } else {
                self.pass_wrong(entry);
            }
        }
        let needed = &has[..has.len().saturating_sub(optional)];
        if needed.iter().any(|&is_there| !is_there) {
            let (_, count) = self.missing.get_or_insert((found.log_offset, 0));
            *count += 1;
        }
    }

    /// An entry that points before the record at hand: there is none where it points.
    fn pass(&mut self, entry: IndexEntry, regions: &[Region], log_min: u64) {
        let is_lost = u64::try_from(entry.log_offset)
            .is_ok_and(|offset| offset < log_min || is_within(regions, offset));
        if (is_lost || entry.log_offset == self.last_offset) && entry.hash >= 0 {
            self.take(entry);
        } else {
            self.pass_wrong(entry);
        }
    }

    fn pass_wrong(&mut self, entry: IndexEntry) {
        if let Some(file) = self.files.get(self.current) {
            let at = self.shape.entry_at(self.number);
            let place = (file.path.clone(), at, 0);
            self.wrong.get_or_insert(place).2 += 1;
        }
        self.take(IndexEntry {
            hash: key_hash(entry.hash),
            ..entry
        });
    }

    /// After the walk: what points behind the log's end. `dir` names the index as a whole.
    pub fn finish(&mut self, regions: &[Region], log_min: u64, dir: PathBuf) {
        while let Some(entry) = self.peek() {
            self.pass(entry, regions, log_min);
        }
        if let Some((path, at, count)) = self.wrong.take() {
            let what = "entries do not point to a record with their key";
            let mut about = finding("index-wrong", path, at, ENTRY_SIZE as u64, what);
            about.count = count;
            self.findings.push(about);
        }
        if let Some((log_offset, count)) = self.missing.take() {
            let what = format!("messages have no entries, the first at log position {log_offset}");
            let mut about = finding("index-behind", dir, 0, 0, &what);
            about.count = count;
            self.findings.push(about);
        }
    }
}

/// The newest file's slots are written at the stop: after an unclean one they are old.
fn slot_finding(is_newest: bool, path: PathBuf, at: u64, size: u64, what: &str) -> Finding {
    let kind = if is_newest {
        "index-slots-newest"
    } else {
        "index-slots"
    };
    finding(kind, path, at, size, what)
}
