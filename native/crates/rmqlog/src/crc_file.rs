//! Checksums of whole records, beside the log: the format of `<root>/pyromq/crc/` and looking one up.
//!
//! A record's own checksum covers its body only, and Apache's format has no room for more. So each segment
//! has a file of its name here, with an entry for every record we wrote: where in the segment it begins,
//! CRC-32C of all its bytes, and a check of the entry itself. Entries are in log order and are only ever
//! appended. A damaged or missing entry says nothing about its record, which then is believed as far as its
//! own checksum goes: nothing that happens to these files can hide a good record. Only an entry that is whole
//! and contradicts the log tells of damage, and what is damaged is then the log.
//!
//! Where Apache's broker ran since, it may have cut the log and written other records to the same places.
//! Then only what stands before the last entry that agrees with the log is believed.

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::ahead::ReadAhead;
use crate::checkpoint::{Checkpoint, CONFIRM_OURS};
use crate::disk::{Disk, DiskFile};
use crate::error::{failed, Result, StoreError};
use crate::file_cache::FileKey;
use crate::segment::{base_of, file_name};

const MAGIC: &[u8; 8] = b"PYROMQ-C";
/// The version this code writes, and the newest it can read.
const FORMAT: u32 = 1;
/// Oldest version that can read what this code writes.
const OLDEST_READER: u32 = 1;
const HEAD_USED: usize = 28;
/// Entries begin here.
pub const HEAD_SIZE: u64 = 4096;
/// In the head, what is written once the segment is full.
pub const SEAL_AT: u64 = 64;
pub const SEAL_SIZE: usize = 84;
const SEAL_MAGIC: &[u8; 4] = b"SEAL";
pub const ENTRY_SIZE: usize = 12;
/// Entries looked at together.
pub const BLOCK_COUNT: usize = 340;
/// Blocks kept in memory.
const BLOCKS_MAX: usize = 32;
/// Entries passed one by one before the search halves.
const NEAR_MAX: usize = 16;
/// Files kept open.
const FILES_MAX: usize = 64;

/// CRC-32C of all bytes of a record.
pub fn record_crc(record: &[u8]) -> u32 {
    crc32c::crc32c(record)
}

pub fn dir_of(root: &Path) -> PathBuf {
    root.join("pyromq").join("crc")
}

/// One record of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Where in its segment it begins.
    pub at: u32,
    pub crc: u32,
}

/// The segment is part of an entry's check: files that change places are noticed.
fn seed_of(base: u64) -> u32 {
    crc32c::crc32c(&base.to_be_bytes())
}

fn u32_of(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

fn u64_of(bytes: &[u8]) -> u64 {
    u64::from(u32_of(&bytes[..4])) << 32 | u64::from(u32_of(&bytes[4..8]))
}

impl Entry {
    fn check(&self, seed: u32) -> u32 {
        let bytes = u64::from(self.at) << 32 | u64::from(self.crc);
        crc32c::crc32c_append(seed, &bytes.to_be_bytes())
    }

    fn encode(&self, seed: u32, out: &mut Vec<u8>) {
        let mut bytes = [0u8; ENTRY_SIZE];
        bytes[0..4].copy_from_slice(&self.at.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.crc.to_be_bytes());
        let check = self.check(seed);
        bytes[8..12].copy_from_slice(&check.to_be_bytes());
        out.extend_from_slice(&bytes);
    }

    /// The entry, unless its check says that it is damaged.
    pub fn decode(bytes: &[u8], base: u64) -> Option<Entry> {
        let bytes = bytes.get(..ENTRY_SIZE)?;
        let slot = Entry::slot(bytes);
        slot.is_whole(seed_of(base)).then_some(slot.entry)
    }

    fn slot(bytes: &[u8]) -> Slot {
        let entry = Entry {
            at: u32_of(&bytes[0..4]),
            crc: u32_of(&bytes[4..8]),
        };
        Slot {
            entry,
            check: u32_of(&bytes[8..12]),
        }
    }
}

/// The entries of a segment as they stand in its file.
pub fn encode_all(entries: &[Entry], base: u64, out: &mut Vec<u8>) {
    let seed = seed_of(base);
    for entry in entries {
        entry.encode(seed, out);
    }
}

pub fn encode_head(base: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD_USED);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&FORMAT.to_be_bytes());
    out.extend_from_slice(&OLDEST_READER.to_be_bytes());
    out.extend_from_slice(&base.to_be_bytes());
    let crc = crc32c::crc32c(&out);
    out.extend_from_slice(&crc.to_be_bytes());
    out
}

/// Whether the head is whole and that of the segment; a newer one that we must not read is an error.
pub fn check_head(bytes: &[u8], base: u64, path: &Path) -> Result<bool> {
    let Some(bytes) = bytes.get(..HEAD_USED) else {
        return Ok(false);
    };
    if &bytes[..8] != MAGIC || u32_of(&bytes[24..28]) != crc32c::crc32c(&bytes[..24]) {
        return Ok(false);
    }
    let (format, oldest_reader) = (u32_of(&bytes[8..12]), u32_of(&bytes[12..16]));
    if oldest_reader > FORMAT {
        return Err(StoreError::Damaged(format!(
            "{}: written by a newer version (format {format}, readable from version \
             {oldest_reader}); this one reads up to {FORMAT}. Nothing was changed",
            path.display()
        )));
    }
    Ok(u64_of(&bytes[16..24]) == base)
}

/// What is noted of a segment that takes no more records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal {
    pub count: u64,
    /// Digest of the segment before this one; zeros if that had none.
    pub previous: [u8; 32],
    pub digest: [u8; 32],
}

/// Whether a file is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sealed {
    No,
    /// There is a seal, but nobody knows what it said.
    Damaged,
    As(Seal),
}

impl Seal {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SEAL_SIZE);
        out.extend_from_slice(SEAL_MAGIC);
        out.extend_from_slice(&self.count.to_be_bytes());
        out.extend_from_slice(&self.previous);
        out.extend_from_slice(&self.digest);
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_be_bytes());
        // The rest of the sector is left as it is: zeros.
        out.resize(SEAL_SIZE, 0);
        out
    }

    pub fn decode(bytes: &[u8]) -> Sealed {
        let Some(bytes) = bytes.get(..SEAL_SIZE) else {
            return Sealed::No;
        };
        if bytes.iter().all(|&byte| byte == 0) {
            return Sealed::No;
        }
        if &bytes[..4] != SEAL_MAGIC || u32_of(&bytes[76..80]) != crc32c::crc32c(&bytes[..76]) {
            return Sealed::Damaged;
        }
        let mut seal = Seal {
            count: u64_of(&bytes[4..12]),
            previous: [0; 32],
            digest: [0; 32],
        };
        seal.previous.copy_from_slice(&bytes[12..44]);
        seal.digest.copy_from_slice(&bytes[44..76]);
        Sealed::As(seal)
    }
}

/// The digest of the first `count` entries, chained to that of the segment before. `None` if the file has
/// fewer.
pub fn digest(
    file: &dyn DiskFile,
    base: u64,
    count: u64,
    previous: &[u8; 32],
) -> std::io::Result<Option<[u8; 32]>> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(previous);
    hasher.update(&base.to_be_bytes());
    hasher.update(&count.to_be_bytes());
    let mut left = count * ENTRY_SIZE as u64;
    let mut at = HEAD_SIZE;
    let mut bytes = vec![0u8; 1 << 18];
    while left > 0 {
        let want = left.min(bytes.len() as u64) as usize;
        let got = file.read_at(&mut bytes[..want], at)?;
        if got < want {
            return Ok(None);
        }
        hasher.update(&bytes[..got]);
        at += got as u64;
        left -= got as u64;
    }
    Ok(Some(*hasher.finalize().as_bytes()))
}

/// How many entries a file of this length holds.
pub fn count_of(len: u64) -> u64 {
    len.saturating_sub(HEAD_SIZE) / ENTRY_SIZE as u64
}

/// An entry as it stands in the file; whether it is whole is looked at when it is wanted.
#[derive(Clone, Copy)]
struct Slot {
    entry: Entry,
    check: u32,
}

impl Slot {
    fn new(entry: Entry, seed: u32) -> Slot {
        Slot {
            entry,
            check: entry.check(seed),
        }
    }

    fn is_whole(&self, seed: u32) -> bool {
        self.check == self.entry.check(seed)
    }
}

/// Entries of one part of a file, ascending; the first and the last of them are whole.
struct Block {
    base: u64,
    seed: u32,
    number: usize,
    slots: Vec<Slot>,
    /// Where the last one looked up is: the next one is probably wanted next.
    cursor: usize,
}

impl Block {
    fn covers(&self, base: u64, at: u32) -> bool {
        self.base == base
            && (self.slots.first()).is_some_and(|first| first.entry.at <= at)
            && (self.slots.last()).is_some_and(|last| at <= last.entry.at)
    }

    fn find(&mut self, at: u32) -> Option<u32> {
        // Readers go forward, past the records of other queues.
        let mut place = self.cursor;
        let near = (self.cursor + NEAR_MAX).min(self.slots.len());
        while place < near && self.slots[place].entry.at < at {
            place += 1;
        }
        if self.slots.get(place).is_none_or(|slot| slot.entry.at != at) {
            let found = self.slots.binary_search_by_key(&at, |slot| slot.entry.at);
            place = found.ok()?;
        }
        self.cursor = place;
        let slot = self.slots[place];
        slot.is_whole(self.seed).then_some(slot.entry.crc)
    }

    /// Leaves whole entries only.
    fn sift(&mut self) {
        let seed = self.seed;
        self.slots.retain(|slot| slot.is_whole(seed));
        let mut last = None;
        self.slots.retain(|slot| {
            let is_next = last.is_none_or(|last| last < slot.entry.at);
            if is_next {
                last = Some(slot.entry.at);
            }
            is_next
        });
    }
}

/// One open file.
struct Sidecar {
    file: Arc<dyn DiskFile>,
    count: u64,
    /// First entry of each block as far as they were looked at.
    firsts: Vec<First>,
    used: u64,
}

#[derive(Clone, Copy)]
enum First {
    Unknown,
    /// No entry of the block is whole.
    Nothing,
    At(u32),
}

/// Looks up checksums. What cannot be read counts as missing.
pub struct CrcReader {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    sidecars: HashMap<u64, Option<Sidecar>>,
    /// The most recently used first.
    blocks: Vec<Block>,
    uses: u64,
    /// Entries of records from here on are not believed.
    trusted_to: u64,
    ahead: ReadAhead,
}

impl CrcReader {
    pub fn new(disk: Arc<dyn Disk>, root: &Path) -> CrcReader {
        CrcReader {
            disk,
            dir: dir_of(root),
            sidecars: HashMap::new(),
            blocks: Vec::new(),
            uses: 0,
            trusted_to: u64::MAX,
            ahead: ReadAhead::default(),
        }
    }

    /// How the files are read.
    pub fn ahead(&mut self) -> &mut ReadAhead {
        &mut self.ahead
    }

    /// The same of a store that is not open yet: `read` hands out bytes of its log. Fails if a file is from
    /// a newer version.
    pub fn survey(
        disk: Arc<dyn Disk>,
        root: &Path,
        segment_size: u64,
        read: &dyn Fn(u64, usize) -> Result<Vec<u8>>,
    ) -> Result<CrcReader> {
        let mut reader = CrcReader::new(disk, root);
        let found = list(&*reader.disk, &reader.dir);
        for &base in found.keys() {
            let path = reader.dir.join(file_name(base));
            let mut head = [0u8; HEAD_USED];
            let got = reader
                .disk
                .open(&path)
                .and_then(|file| file.read_at(&mut head, 0));
            check_head(&head[..got.unwrap_or(0)], base, &path)?;
        }
        let checkpoint = Checkpoint::read(&*reader.disk, &root.join("checkpoint"))?;
        let is_ours = checkpoint.is_some_and(|known| known.confirm_log_offset == CONFIRM_OURS);
        if !is_ours {
            reader.trusted_to = reader.agreed_to(&found, segment_size, read)?;
        }
        Ok(reader)
    }

    pub fn trusted_to(&self) -> u64 {
        self.trusted_to
    }

    /// Where the last record ends that is as its entry says.
    fn agreed_to(
        &mut self,
        found: &BTreeMap<u64, u64>,
        segment_size: u64,
        read: &dyn Fn(u64, usize) -> Result<Vec<u8>>,
    ) -> Result<u64> {
        for (&base, &len) in found.iter().rev() {
            let blocks = count_of(len).div_ceil(BLOCK_COUNT as u64) as usize;
            for number in (0..blocks).rev() {
                let Some(mut block) = self.load(base, number) else {
                    continue;
                };
                block.sift();
                for Slot { entry, .. } in block.slots.iter().rev() {
                    let log_offset = base + u64::from(entry.at);
                    let size = read(log_offset, 4)?;
                    let size = if size.len() == 4 { u32_of(&size) } else { 0 };
                    let room = segment_size.saturating_sub(u64::from(entry.at));
                    if size == 0 || u64::from(size) > room {
                        continue;
                    }
                    let record = read(log_offset, size as usize)?;
                    if record.len() == size as usize && record_crc(&record) == entry.crc {
                        return Ok(log_offset + u64::from(size));
                    }
                }
            }
        }
        Ok(0)
    }

    /// The checksum of the record at `log_offset`, in the segment at `base`, if it is known.
    pub fn expected(&mut self, base: u64, log_offset: u64) -> Option<u32> {
        if log_offset >= self.trusted_to {
            return None;
        }
        let at = u32::try_from(log_offset - base).ok()?;
        if let Some(place) = self.blocks.iter().position(|block| block.covers(base, at)) {
            if place > 0 {
                self.blocks[..=place].rotate_right(1);
            }
            return self.blocks[0].find(at);
        }
        // The block behind the last one, or wherever it is.
        let next = self.blocks.first().filter(|block| block.base == base);
        if let Some(next) = next.map(|block| block.number + 1) {
            if let Some(block) = self.load(base, next) {
                let is_it = block.covers(base, at);
                self.keep(block);
                if is_it {
                    return self.blocks[0].find(at);
                }
            }
        }
        let number = self.block_of(base, at)?;
        let block = self.load(base, number)?;
        self.keep(block);
        self.blocks[0].find(at)
    }

    /// All whole entries of a segment that are to be believed.
    pub fn entries(&mut self, base: u64) -> Vec<Entry> {
        let count = self.sidecar(base).map_or(0, |sidecar| sidecar.count);
        let mut found = Vec::new();
        for number in 0..count.div_ceil(BLOCK_COUNT as u64) as usize {
            if let Some(mut block) = self.load(base, number) {
                block.sift();
                found.extend(block.slots.iter().map(|slot| slot.entry));
            }
        }
        let trusted_to = self.trusted_to;
        found.retain(|entry| base + u64::from(entry.at) < trusted_to);
        found
    }

    fn keep(&mut self, block: Block) {
        self.blocks
            .retain(|known| known.base != block.base || known.number != block.number);
        self.blocks.truncate(BLOCKS_MAX - 1);
        self.blocks.insert(0, block);
    }

    fn sidecar(&mut self, base: u64) -> Option<&mut Sidecar> {
        self.uses += 1;
        if !self.sidecars.contains_key(&base) {
            let open = |value: &Option<Sidecar>| value.is_some();
            if self.sidecars.values().filter(|value| open(value)).count() >= FILES_MAX {
                let used = |value: &Option<Sidecar>| value.as_ref().map(|known| known.used);
                let known = self.sidecars.iter().filter(|(_, value)| open(value));
                let oldest = known.min_by_key(|(_, value)| used(value));
                if let Some(oldest) = oldest.map(|(&base, _)| base) {
                    self.sidecars.remove(&oldest);
                }
            }
            let path = self.dir.join(file_name(base));
            let opened = self.disk.exists(&path).then(|| self.disk.open(&path).ok());
            let found = opened.flatten().and_then(|file| {
                let count = count_of(file.len().ok()?);
                Some(Sidecar {
                    file,
                    count,
                    firsts: Vec::new(),
                    used: 0,
                })
            });
            self.sidecars.insert(base, found);
        }
        let uses = self.uses;
        let found = self.sidecars.get_mut(&base)?.as_mut()?;
        found.used = uses;
        Some(found)
    }

    /// Bytes of a segment's file; none that cannot be read. `None`: they are not in memory, and nobody waits.
    fn read(&mut self, base: u64, buffer: &mut [u8], at: u64) -> Option<usize> {
        if self.ahead.is_missing() {
            return None;
        }
        let sidecar = self.sidecar(base)?;
        let end = HEAD_SIZE + sidecar.count * ENTRY_SIZE as u64;
        let file = Arc::clone(&sidecar.file);
        let got = self.ahead.read(FileKey::Crc(base), &file, buffer, at, end);
        match got {
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            got => Some(got.unwrap_or(0)),
        }
    }

    fn load(&mut self, base: u64, number: usize) -> Option<Block> {
        let sidecar = self.sidecar(base)?;
        let from = (number * BLOCK_COUNT) as u64;
        let count = sidecar.count.checked_sub(from)?.min(BLOCK_COUNT as u64) as usize;
        let mut bytes = [0u8; BLOCK_COUNT * ENTRY_SIZE];
        let at = HEAD_SIZE + from * ENTRY_SIZE as u64;
        let wanted = &mut bytes[..count * ENTRY_SIZE];
        let got = self.read(base, wanted, at)?;
        let parts = wanted[..got].chunks_exact(ENTRY_SIZE);
        let mut block = Block {
            base,
            seed: seed_of(base),
            number,
            slots: parts.map(Entry::slot).collect(),
            cursor: 0,
        };
        let ends = [block.slots.first(), block.slots.last()];
        let are_whole = ends
            .into_iter()
            .flatten()
            .all(|slot| slot.is_whole(block.seed));
        if !are_whole || !block.slots.is_sorted_by(|a, b| a.entry.at < b.entry.at) {
            block.sift();
        }
        Some(block)
    }

    /// Where the first whole entry of a block is.
    fn first_of(&mut self, base: u64, number: usize) -> Option<u32> {
        let known = self.sidecar(base)?.firsts.get(number);
        match known.copied().unwrap_or(First::Unknown) {
            First::At(at) => return Some(at),
            First::Nothing => return None,
            First::Unknown => {}
        }
        let mut bytes = [0u8; ENTRY_SIZE];
        let at = HEAD_SIZE + (number * BLOCK_COUNT * ENTRY_SIZE) as u64;
        let got = self.read(base, &mut bytes, at)?;
        let found = match Entry::decode(&bytes[..got], base) {
            Some(entry) => Some(entry.at),
            None => self
                .load(base, number)
                .and_then(|block| block.slots.first().map(|slot| slot.entry.at)),
        };
        if self.ahead.is_missing() {
            return None;
        }
        let sidecar = self.sidecar(base)?;
        if sidecar.firsts.len() <= number {
            sidecar.firsts.resize(number + 1, First::Unknown);
        }
        sidecar.firsts[number] = found.map_or(First::Nothing, First::At);
        found
    }

    /// The block in which the entry for `at` is, if there is one.
    fn block_of(&mut self, base: u64, at: u32) -> Option<usize> {
        let count = self.sidecar(base)?.count;
        let (mut low, mut high) = (0, count.div_ceil(BLOCK_COUNT as u64) as usize);
        let mut candidate = None;
        while low < high {
            let middle = low + (high - low) / 2;
            // A block without a whole entry tells nothing: the next one does.
            let found = (middle..high)
                .find_map(|number| self.first_of(base, number).map(|first| (number, first)));
            if self.ahead.is_missing() {
                return None;
            }
            match found {
                Some((number, first)) if first <= at => {
                    candidate = Some(number);
                    low = number + 1;
                }
                _ => high = middle,
            }
        }
        candidate
    }

    /// Forgets a segment that is removed.
    pub fn forget(&mut self, base: u64) {
        self.sidecars.remove(&base);
        self.blocks.retain(|block| block.base != base);
    }

    /// Takes note of entries that were written behind the others of `base`: `count` are in the file now.
    pub fn appended(&mut self, base: u64, file: &Arc<dyn DiskFile>, entries: &[Entry], count: u64) {
        let known = self.sidecar(base).is_some();
        if !known {
            let sidecar = Sidecar {
                file: Arc::clone(file),
                count,
                firsts: Vec::new(),
                used: self.uses,
            };
            self.sidecars.insert(base, Some(sidecar));
        }
        if let Some(sidecar) = self.sidecar(base) {
            sidecar.count = count;
            if let Some(last @ First::Nothing) = sidecar.firsts.last_mut() {
                *last = First::Unknown;
            }
        }
        // The newest entries are the likeliest to be wanted: their block grows in memory.
        let first = (count as usize).saturating_sub(entries.len());
        for (number, entry) in (first..).zip(entries) {
            let number = number / BLOCK_COUNT;
            let place = self
                .blocks
                .iter()
                .position(|block| block.base == base && block.number == number);
            let place = place.unwrap_or_else(|| {
                let block = self.load(base, number).unwrap_or(Block {
                    base,
                    seed: seed_of(base),
                    number,
                    slots: Vec::new(),
                    cursor: 0,
                });
                self.keep(block);
                let slots = &mut self.blocks[0].slots;
                slots.retain(|slot| slot.entry.at < entry.at);
                0
            });
            let block = &mut self.blocks[place];
            block.slots.push(Slot::new(*entry, block.seed));
        }
    }
}

/// Where each segment begins that has a file here, and how long that is. A directory that cannot be listed
/// has none.
pub fn list(disk: &dyn Disk, dir: &Path) -> BTreeMap<u64, u64> {
    let entries = disk.list(dir).unwrap_or_default();
    entries
        .iter()
        .filter(|entry| !entry.is_dir)
        .filter_map(|entry| base_of(&entry.name).map(|base| (base, entry.len)))
        .collect()
}

/// The seal of a file.
pub fn read_seal(disk: &dyn Disk, path: &Path) -> Result<Sealed> {
    let file = disk
        .open(path)
        .map_err(|error| failed("open", path, &error))?;
    let mut bytes = [0u8; SEAL_SIZE];
    let got = file
        .read_at(&mut bytes, SEAL_AT)
        .map_err(|error| failed("read", path, &error))?;
    Ok(Seal::decode(&bytes[..got]))
}
