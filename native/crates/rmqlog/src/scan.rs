//! Looking at a log that nobody has open: which segments there are, which records are in them, where the
//! valid ones end, and whether anything valid comes after that. Reads only.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::crc_file::{record_crc, CrcReader};
use crate::damage::{hole_at, Hole};
use crate::disk::{Disk, DiskFile};
use crate::error::{failed, failed_at, Result, StoreError};
use crate::record::{self, Found, Record};
use crate::remembered;
use crate::segment::{base_of, file_name};

/// Bytes read at once.
const BUFFER_SIZE: usize = 1 << 20;
/// The least that a disk writes as a whole.
const SECTOR_SIZE: u64 = 512;

/// Said of a record that is as Apache wants it and yet not as it was written.
const CRC_DIFFERS: &str = "the whole record's checksum differs";
/// What every refusal to open ends with.
pub const WAY_OUT: &str = "Nothing was changed. `pyromq store repair DIR` shows what can be done";

/// The segments of a log directory. All should be there and have one size; those that are missing or
/// short are read as far as they go.
pub struct LogFiles {
    disk: Arc<dyn Disk>,
    pub dir: PathBuf,
    pub segment_size: u64,
    /// Where the first segment begins.
    pub min: u64,
    /// Where the last one ends; `min` if there is none.
    pub max: u64,
    /// A last file of length 0: Apache deletes it, and so do we once the store is known to be sound.
    pub empty_last: Option<PathBuf>,
    /// Where each segment begins that is there, and the length of its file.
    segments: BTreeMap<u64, u64>,
    crcs: Option<Mutex<CrcReader>>,
}

impl LogFiles {
    /// Lists the directory. The size of the segments is the one most of them have; the configured one
    /// decides where that leaves a doubt.
    pub fn list(disk: Arc<dyn Disk>, dir: PathBuf, configured_size: u64) -> Result<LogFiles> {
        LogFiles::list_known(disk, dir, configured_size, 0)
    }

    /// The same of a log of which is known that it once reached to `known_end`.
    pub fn list_known(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        configured_size: u64,
        known_end: u64,
    ) -> Result<LogFiles> {
        let mut files = LogFiles::list_segments(disk, dir, configured_size, known_end)?;
        if let Some(root) = files.dir.parent() {
            let read = |log_offset, size| files.read(log_offset, size);
            let (disk, size) = (Arc::clone(&files.disk), files.segment_size);
            let crcs = CrcReader::survey(disk, root, size, &read)?;
            files.crcs = Some(Mutex::new(crcs));
        }
        Ok(files)
    }

    fn list_segments(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        configured_size: u64,
        known_end: u64,
    ) -> Result<LogFiles> {
        let entries = disk
            .list(&dir)
            .map_err(|error| failed("list", &dir, &error))?;
        let mut segments: BTreeMap<u64, u64> = entries
            .iter()
            .filter(|entry| !entry.is_dir)
            .filter_map(|entry| base_of(&entry.name).map(|base| (base, entry.len)))
            .collect();
        let mut empty_last = None;
        if let Some((&base, 0)) = segments.last_key_value() {
            if segments.len() > 1 || known_end <= base {
                empty_last = Some(dir.join(file_name(base)));
                segments.pop_last();
            }
        }
        let Some((&min, _)) = segments.first_key_value() else {
            return Ok(LogFiles {
                disk,
                dir,
                segment_size: configured_size,
                min: 0,
                max: 0,
                empty_last,
                segments,
                crcs: None,
            });
        };
        let noted = remembered::segment_size(&*disk, &dir)?;
        let Some(segment_size) = segment_size(&segments, noted, configured_size, known_end) else {
            let (base, len) = segments
                .iter()
                .find(|(base, _)| !base.is_multiple_of(configured_size))
                .unwrap_or((&min, &0));
            return Err(StoreError::Damaged(format!(
                "{}: byte 0: no segment of {configured_size} bytes begins here, and the sizes of the \
                 files (this one has {len} bytes) tell no other. {WAY_OUT}",
                dir.join(file_name(*base)).display(),
            )));
        };
        let max = segments
            .last_key_value()
            .map_or(min, |(base, _)| base + segment_size);
        Ok(LogFiles {
            disk,
            dir,
            segment_size,
            min,
            max,
            empty_last,
            segments,
            crcs: None,
        })
    }

    /// The checksum of the whole record at a position, if one is noted and to be believed.
    pub fn crc_of(&self, log_offset: u64) -> Option<u32> {
        let mut crcs = self
            .crcs
            .as_ref()?
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        crcs.expected(self.base_of(log_offset), log_offset)
    }

    /// Notes of records from here on are not to be believed.
    pub fn trusted_crcs_to(&self) -> u64 {
        self.crcs.as_ref().map_or(u64::MAX, |crcs| {
            crcs.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .trusted_to()
        })
    }

    /// Whether the segment at `base` is there.
    pub fn has(&self, base: u64) -> bool {
        self.segments.contains_key(&base)
    }

    /// Where each segment begins that is there, from the one `log_offset` is in on, ascending.
    pub fn bases_from(&self, log_offset: u64) -> impl Iterator<Item = u64> + '_ {
        let from = self.base_of(log_offset);
        self.segments.range(from..).map(|(&base, _)| base)
    }

    /// Where each segment begins whose file has not its full length, and the length it has.
    pub fn odd_sizes(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let entries = self.segments.iter().map(|(&base, &len)| (base, len));
        entries.filter(|&(_, len)| len != self.segment_size)
    }

    pub fn is_empty(&self) -> bool {
        self.min == self.max
    }

    pub fn base_of(&self, log_offset: u64) -> u64 {
        log_offset - log_offset % self.segment_size
    }

    pub fn path_of(&self, log_offset: u64) -> PathBuf {
        self.dir.join(file_name(self.base_of(log_offset)))
    }

    pub fn open(&self, base: u64) -> Result<Arc<dyn DiskFile>> {
        let path = self.path_of(base);
        self.disk
            .open(&path)
            .map_err(|error| failed("open", &path, &error))
    }

    /// Bytes at a log position, as many as the segment has of them.
    pub fn read(&self, log_offset: u64, size: usize) -> Result<Vec<u8>> {
        let base = self.base_of(log_offset);
        if !self.has(base) {
            return Ok(Vec::new());
        }
        let room = base + self.segment_size - log_offset;
        let mut bytes = vec![0u8; size.min(room as usize)];
        let at = log_offset - base;
        let got = self
            .open(base)?
            .read_at(&mut bytes, at)
            .map_err(|error| failed_at("read", &self.path_of(base), at, &error))?;
        bytes.truncate(got);
        Ok(bytes)
    }

    /// The first bytes of the record at a position, if a record seems to begin there.
    pub fn head(&self, log_offset: u64) -> Result<Option<Vec<u8>>> {
        let bytes = self.read(log_offset, record::STORE_TIME_PREFIX)?;
        let is_record = record::is_head(&bytes, log_offset);
        Ok(is_record.then_some(bytes))
    }
}

/// What to say of a record whose whole checksum differs: it may be more exact to say that its body does.
pub fn why_differs(record: &[u8], log_offset: u64, room: u64) -> &'static str {
    match record::parse(record, log_offset, room, true) {
        Found::Bad(reason) => reason,
        _ => CRC_DIFFERS,
    }
}

/// The size of the segments: the one we noted, if the files fit it; else that of most files at whose
/// multiples all segments begin.
fn segment_size(
    segments: &BTreeMap<u64, u64>,
    noted: Option<u64>,
    configured: u64,
    known_end: u64,
) -> Option<u64> {
    let is_usable = |size: u64| {
        (1024..=i32::MAX as u64).contains(&size)
            && segments.keys().all(|base| base.is_multiple_of(size))
    };
    let holds_all = |size: u64| segments.values().all(|&len| len <= size);
    if let Some(size) = noted.filter(|&size| is_usable(size) && holds_all(size)) {
        return Some(size);
    }
    let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
    for &len in segments.values().filter(|&&len| is_usable(len)) {
        *counts.entry(len).or_default() += 1;
    }
    if let (1, Some((&base, &len))) = (segments.len(), segments.first_key_value()) {
        if base + len < known_end && len < configured {
            counts.clear(); // cut short
        }
    }
    let most = counts
        .into_iter()
        .max_by_key(|&(size, count)| (count, size == configured, size));
    match most {
        Some((size, _)) => Some(size),
        None => Some(configured).filter(|&size| is_usable(size)),
    }
}

/// Where a scan ended and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    pub log_offset: u64,
    /// What is wrong with the bytes there; nothing if the log simply ends with its last segment.
    pub reason: Option<&'static str>,
}

/// What to do where no valid record is.
enum AtBad {
    Stop,
    /// Go on at the next valid record, and note the hole.
    Search,
}

/// Walks the records from a segment's beginning.
pub struct Scanner<'a> {
    files: &'a LogFiles,
    file: Option<(u64, Arc<dyn DiskFile>)>,
    buffer: Vec<u8>,
    /// Log position of the buffer's first byte.
    buffer_at: u64,
    check_bodies: bool,
    position: u64,
    end: u64,
    at_bad: AtBad,
    known_holes: &'a [Hole],
    /// Here a record that may be torn in its properties, where no checksum looks, is not believed.
    doubted: &'a [Hole],
    /// From here on a power cut may have left out sectors of a record.
    unsynced_from: u64,
    found_holes: Vec<(Hole, &'static str)>,
}

/// Whether the part of a record behind its body, where no checksum looks, has the zeros of a sector that
/// never reached the disk, or reached it as a write that stopped in it had left it. `at` is the record's
/// place in its file. A topic has no zero byte, and properties have none before a sector ends.
fn lacks_sector(found: &Record<'_>, at: u64) -> bool {
    let end = at + found.size as u64;
    let mut from = end - found.properties.len() as u64;
    let mut rest = found.properties;
    while !rest.is_empty() {
        let share = (SECTOR_SIZE - from % SECTOR_SIZE).min(rest.len() as u64);
        let (own, others) = rest.split_at(share as usize);
        from += share;
        let is_cut = own.last() == Some(&0) && from.is_multiple_of(SECTOR_SIZE);
        if is_cut || own.iter().all(|&byte| byte == 0) {
            return true;
        }
        rest = others;
    }
    found.topic.contains(&0)
}

impl<'a> Scanner<'a> {
    /// A walk from the record boundary `from` up to `end`, at most to the last segment's end. It stops
    /// at the first bad record.
    pub fn new(files: &'a LogFiles, from: u64, end: u64, check_bodies: bool) -> Scanner<'a> {
        Scanner {
            files,
            file: None,
            buffer: Vec::new(),
            buffer_at: from,
            check_bodies,
            position: from,
            end: end.min(files.max),
            at_bad: AtBad::Stop,
            known_holes: &[],
            doubted: &[],
            unsynced_from: u64::MAX,
            found_holes: Vec::new(),
        }
    }

    /// The same, but holes with valid records behind them are passed over; see [`Scanner::take_holes`].
    /// In those of an earlier start, `doubted`, what may be a torn record is not believed, nor there and
    /// from `unsynced_from` on a record that lacks a sector.
    pub fn over_holes(
        files: &'a LogFiles,
        from: u64,
        end: u64,
        doubted: &'a [Hole],
        unsynced_from: u64,
    ) -> Scanner<'a> {
        Scanner {
            doubted,
            unsynced_from,
            at_bad: AtBad::Search,
            ..Scanner::new(files, from, end, true)
        }
    }

    /// A walk over what was checked before, `holes` left out.
    pub fn between(files: &'a LogFiles, from: u64, end: u64, holes: &'a [Hole]) -> Scanner<'a> {
        Scanner {
            known_holes: holes,
            ..Scanner::new(files, from, end, false)
        }
    }

    /// The same, of a log that a start has looked at: `holes` are passed over, others are found.
    pub fn searching(files: &'a LogFiles, from: u64, end: u64, holes: &'a [Hole]) -> Scanner<'a> {
        Scanner {
            known_holes: holes,
            at_bad: AtBad::Search,
            ..Scanner::new(files, from, end, true)
        }
    }

    /// The holes met so far, and what was wrong where each begins.
    pub fn take_holes(&mut self) -> Vec<(Hole, &'static str)> {
        std::mem::take(&mut self.found_holes)
    }

    /// A walk over everything but `holes` that checks every record again, and stops at the first bad one.
    pub fn whole(files: &'a LogFiles, from: u64, end: u64, holes: &'a [Hole]) -> Scanner<'a> {
        Scanner {
            known_holes: holes,
            ..Scanner::new(files, from, end, true)
        }
    }

    fn go_to(&mut self, log_offset: u64) {
        self.position = log_offset;
        self.buffer.clear();
        self.buffer_at = log_offset;
    }

    fn fill(&mut self, want: usize) -> Result<()> {
        let base = self.files.base_of(self.position);
        self.buffer.clear();
        self.buffer_at = self.position;
        if !self.files.has(base) {
            return Ok(());
        }
        if self.file.as_ref().is_none_or(|(open, _)| *open != base) {
            self.file = Some((base, self.files.open(base)?));
        }
        let Some((_, file)) = &self.file else {
            return Ok(());
        };
        let room = base + self.files.segment_size - self.position;
        let size = want.max(BUFFER_SIZE).min(room as usize);
        self.buffer.resize(size, 0);
        let at = self.position - base;
        let got = file
            .read_at(&mut self.buffer, at)
            .map_err(|error| failed_at("read", &self.files.path_of(base), at, &error))?;
        self.buffer.truncate(got);
        Ok(())
    }

    /// The next record, or where and why there is none.
    pub fn next_record(&mut self) -> Result<std::result::Result<Record<'_>, End>> {
        match self.seek()? {
            Some(end) => Ok(Err(end)),
            None => self.take(),
        }
    }

    /// Goes to the next record; answers where and why there is none.
    pub fn seek(&mut self) -> Result<Option<End>> {
        while let Some(reason) = self.look()? {
            let end = End {
                log_offset: self.position,
                reason: (self.position < self.end).then_some(reason),
            };
            if end.reason.is_none() || matches!(self.at_bad, AtBad::Stop) {
                return Ok(Some(end));
            }
            let beyond = look_beyond(self.files, end.log_offset)?;
            let Some(valid) = beyond.valid_record.filter(|&valid| valid < self.end) else {
                return Ok(Some(end));
            };
            let hole = Hole {
                from: end.log_offset,
                to: valid,
            };
            self.found_holes.push((hole, reason));
            self.go_to(valid);
        }
        Ok(None)
    }

    /// The record [`Scanner::seek`] went to.
    pub fn take(&mut self) -> Result<std::result::Result<Record<'_>, End>> {
        let base = self.files.base_of(self.position);
        let room = base + self.files.segment_size - self.position;
        let from = (self.position - self.buffer_at) as usize;
        let position = self.position;
        match record::parse(&self.buffer[from..], position, room, false) {
            Found::Record(found) => {
                self.position += found.size as u64;
                Ok(Ok(found))
            }
            _ => Ok(Err(End {
                log_offset: position,
                reason: Some("record changed while read"),
            })),
        }
    }

    /// Whether something begins at the end of a record. Where a write stopped within a sector, zeros follow
    /// up to that sector's end.
    fn goes_on_at(&self, end: u64) -> Result<bool> {
        let is_segment_end = end.is_multiple_of(self.files.segment_size);
        let next = self.files.read(end, record::BLANK_SIZE)?;
        Ok(is_segment_end || next.iter().any(|&byte| byte != 0))
    }

    fn known_hole(&self) -> Option<Hole> {
        hole_at(self.known_holes, self.position)
    }

    /// Brings the record at the position into the buffer; says what is wrong if there is none. Blank
    /// records are passed.
    fn look(&mut self) -> Result<Option<&'static str>> {
        loop {
            if let Some(hole) = self.known_hole() {
                self.go_to(hole.to);
            }
            if self.position >= self.end {
                return Ok(Some("the log ends"));
            }
            let base = self.files.base_of(self.position);
            let room = base + self.files.segment_size - self.position;
            let from = (self.position - self.buffer_at) as usize;
            let known = self.buffer.get(from..).unwrap_or_default();
            // Where the whole record's checksum is known, the body's need not be looked at.
            let crc = if self.check_bodies && !known.is_empty() {
                self.files.crc_of(self.position)
            } else {
                None
            };
            let check_body = self.check_bodies && crc.is_none();
            match record::parse(known, self.position, room, check_body) {
                Found::Record(found) => {
                    if crc.is_some_and(|crc| crc != record_crc(found.bytes)) {
                        return Ok(Some(why_differs(found.bytes, self.position, room)));
                    }
                    let is_doubted = hole_at(self.doubted, self.position).is_some();
                    let is_unsafe = is_doubted || self.position >= self.unsynced_from;
                    let ends_in_zero = is_unsafe && found.properties.last() == Some(&0);
                    let is_torn = is_unsafe && lacks_sector(&found, self.position - base);
                    let end = self.position + found.size as u64;
                    let is_cut = ends_in_zero && (is_doubted || !self.goes_on_at(end)?);
                    return Ok((is_cut || is_torn).then_some("the record is incomplete"));
                }
                Found::Blank => self.go_to(base + self.files.segment_size),
                Found::Partial(size) => {
                    let had = known.len();
                    self.fill(size)?;
                    if !self.files.has(base) {
                        return Ok(Some("the segment is missing"));
                    }
                    if self.buffer.len() <= had || self.buffer.len() < size.min(room as usize) {
                        return Ok(Some("the file ends within a record"));
                    }
                    if size as u64 > room {
                        return Ok(Some("record longer than its segment"));
                    }
                }
                Found::Bad(reason) => return Ok(Some(reason)),
            }
        }
    }
}

/// What lies behind the end of the valid records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beyond {
    /// The first byte that is not zero.
    pub first_byte: Option<u64>,
    /// A record valid in every respect.
    pub valid_record: Option<u64>,
}

/// Looks through everything behind `end` for bytes that are not zero, and for a valid record: one whose
/// physical offset is its position, its lengths and checksum right.
pub fn look_beyond(files: &LogFiles, end: u64) -> Result<Beyond> {
    let mut beyond = Beyond {
        first_byte: None,
        valid_record: None,
    };
    for base in files.bases_from(end) {
        let segment_end = base + files.segment_size;
        let mut position = base.max(end);
        let file = files.open(base)?;
        let path = files.path_of(base);
        let mut window = vec![0u8; BUFFER_SIZE + record::RECORD_SIZE_MIN];
        while position < segment_end {
            let at = position - base;
            let data = file
                .next_data(at)
                .map_err(|error| failed_at("read", &path, at, &error))?;
            let Some(data) = data else { break };
            position = base + data.max(at);
            if position >= segment_end {
                break;
            }
            let size = window.len().min((segment_end - position) as usize);
            let at = position - base;
            let got = file
                .read_at(&mut window[..size], at)
                .map_err(|error| failed_at("read", &path, at, &error))?;
            let bytes = &window[..got];
            if beyond.first_byte.is_none() {
                beyond.first_byte = bytes
                    .iter()
                    .position(|&byte| byte != 0)
                    .map(|found| position + found as u64);
            }
            for place in magic_places(bytes) {
                let candidate = position + place as u64;
                if candidate != end && is_valid_record(files, candidate)? {
                    beyond.valid_record = Some(candidate);
                    return Ok(beyond);
                }
            }
            if got < size {
                break;
            }
            // The last few bytes are looked at again: a record may begin in them.
            let step = if size < window.len() {
                size
            } else {
                BUFFER_SIZE
            };
            position += step as u64;
        }
    }
    Ok(beyond)
}

/// Where in `bytes` a record could begin: four bytes before a magic number.
fn magic_places(bytes: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let first = (record::MAGIC_V1 >> 24) as u8;
    let mut from = 4;
    std::iter::from_fn(move || {
        while let Some(found) = bytes.get(from..)?.iter().position(|&byte| byte == first) {
            let at = from + found;
            from = at + 1;
            let magic = bytes.get(at..at + 4)?;
            if magic == record::MAGIC_V1.to_be_bytes() || magic == record::MAGIC_V2.to_be_bytes() {
                return Some(at - 4);
            }
        }
        None
    })
}

fn is_valid_record(files: &LogFiles, log_offset: u64) -> Result<bool> {
    let room = files.base_of(log_offset) + files.segment_size - log_offset;
    let mut bytes = files.read(log_offset, record::RECORD_SIZE_MIN)?;
    let crc = files.crc_of(log_offset);
    loop {
        match record::parse(&bytes, log_offset, room, crc.is_none()) {
            Found::Record(found) => {
                return Ok(crc.is_none_or(|crc| crc == record_crc(found.bytes)));
            }
            Found::Partial(size) if size > bytes.len() => {
                let more = files.read(log_offset, size)?;
                if more.len() < size {
                    return Ok(false);
                }
                bytes = more;
            }
            _ => return Ok(false),
        }
    }
}
