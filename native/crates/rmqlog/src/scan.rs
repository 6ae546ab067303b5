//! Looking at a log that nobody has open: which segments there are, which records are in them, where the
//! valid ones end, and whether anything valid comes after that. Reads only.

use std::path::PathBuf;
use std::sync::Arc;

use crate::disk::{Disk, DiskFile};
use crate::error::{failed, failed_at, Result, StoreError};
use crate::record::{self, Found, Record};
use crate::segment::{base_of, file_name};

/// Bytes read at once.
const BUFFER_SIZE: usize = 1 << 20;

/// The segments of a log directory: contiguous, of one size.
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
}

fn damaged(path: &std::path::Path, what: &str) -> StoreError {
    StoreError::Damaged(format!("{}: {what}. Nothing was changed", path.display()))
}

impl LogFiles {
    /// Lists the directory. Every segment must have one size, which overrides the configured one.
    pub fn list(disk: Arc<dyn Disk>, dir: PathBuf, configured_size: u64) -> Result<LogFiles> {
        let entries = disk
            .list(&dir)
            .map_err(|error| failed("list", &dir, &error))?;
        let mut segments: Vec<(u64, u64)> = entries
            .iter()
            .filter(|entry| !entry.is_dir)
            .filter_map(|entry| base_of(&entry.name).map(|base| (base, entry.len)))
            .collect();
        segments.sort_unstable();
        let mut empty_last = None;
        if let Some(&(base, 0)) = segments.last() {
            empty_last = Some(dir.join(file_name(base)));
            segments.pop();
        }
        let segment_size = match segments.first() {
            Some(&(_, first_size)) if segments.iter().all(|&(_, size)| size == first_size) => {
                first_size
            }
            _ => configured_size,
        };
        let mut max = segments.first().map_or(0, |&(base, _)| base);
        let min = max;
        for &(base, size) in &segments {
            let path = dir.join(file_name(base));
            if size != segment_size {
                let what =
                    format!("{size} bytes, the other segments and settings say {segment_size}");
                return Err(damaged(&path, &what));
            }
            if size < 1024 || size > i32::MAX as u64 || !base.is_multiple_of(size) {
                return Err(damaged(
                    &path,
                    &format!("no segment has {size} bytes at {base}"),
                ));
            }
            if base != max {
                return Err(damaged(&dir.join(file_name(max)), "segment missing"));
            }
            max = base + size;
        }
        Ok(LogFiles {
            disk,
            dir,
            segment_size,
            min,
            max,
            empty_last,
        })
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
        if log_offset < self.min || log_offset >= self.max {
            return Ok(Vec::new());
        }
        let base = self.base_of(log_offset);
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
        let is_record = bytes.len() == record::STORE_TIME_PREFIX
            && bytes[28..36] == log_offset.to_be_bytes()
            && [record::MAGIC_V1, record::MAGIC_V2]
                .iter()
                .any(|magic| bytes[4..8] == magic.to_be_bytes());
        Ok(is_record.then_some(bytes))
    }
}

/// Where a scan ended and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    pub log_offset: u64,
    /// What is wrong with the bytes there; nothing if the log simply ends with its last segment.
    pub reason: Option<&'static str>,
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
}

impl<'a> Scanner<'a> {
    /// A walk from the record boundary `from` up to `end`, at most to the last segment's end.
    pub fn new(files: &'a LogFiles, from: u64, end: u64, check_bodies: bool) -> Scanner<'a> {
        Scanner {
            files,
            file: None,
            buffer: Vec::new(),
            buffer_at: from,
            check_bodies,
            position: from,
            end: end.min(files.max),
        }
    }

    fn fill(&mut self, want: usize) -> Result<()> {
        let base = self.files.base_of(self.position);
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
        self.buffer_at = self.position;
        Ok(())
    }

    /// The next record, or where and why there is none.
    pub fn next_record(&mut self) -> Result<std::result::Result<Record<'_>, End>> {
        loop {
            if self.position >= self.end {
                return Ok(Err(End {
                    log_offset: self.position,
                    reason: None,
                }));
            }
            let base = self.files.base_of(self.position);
            let room = base + self.files.segment_size - self.position;
            let from = (self.position - self.buffer_at) as usize;
            let known = self.buffer.get(from..).unwrap_or_default();
            match record::parse(known, self.position, room, self.check_bodies) {
                Found::Record(_) => break,
                Found::Blank => {
                    self.position = base + self.files.segment_size;
                    self.buffer.clear();
                    self.buffer_at = self.position;
                }
                Found::Partial(size) => {
                    let had = known.len();
                    self.fill(size)?;
                    if self.buffer.len() <= had || self.buffer.len() < size.min(room as usize) {
                        let reason = Some("the file ends within a record");
                        return Ok(Err(End {
                            log_offset: self.position,
                            reason,
                        }));
                    }
                    if size as u64 > room {
                        let reason = Some("record longer than its segment");
                        return Ok(Err(End {
                            log_offset: self.position,
                            reason,
                        }));
                    }
                }
                Found::Bad(reason) => {
                    return Ok(Err(End {
                        log_offset: self.position,
                        reason: Some(reason),
                    }));
                }
            }
        }
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
    let mut base = files.base_of(end);
    let mut position = end;
    while base < files.max {
        let segment_end = base + files.segment_size;
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
        base = segment_end;
        position = base;
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
    loop {
        match record::parse(&bytes, log_offset, room, true) {
            Found::Record(_) => return Ok(true),
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
