//! Reading a log that may be damaged anywhere, for `pyromq store`: every record that can be found, and
//! every place where there should be one and is none.
//!
//! Unlike `scan.rs`, which decides how far a log can be trusted, this walk never stops: behind a bad
//! place it looks for the next position where a record is valid in every respect (its position, its
//! lengths, its checksum), so a damaged record costs itself and nothing else. It opens nothing for
//! writing to and goes on in steps, so that a caller can show progress.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::crc_file::{record_crc, CrcReader};
use crate::disk::{Disk, DiskFile};
use crate::error::{failed, failed_at, Result};
use crate::record::{self, Found, Record};
use crate::remembered;
use crate::scan::why_differs;
use crate::segment::base_of;

/// Bytes read at once.
const BUFFER_SIZE: usize = 1 << 20;
/// Bytes read at once where a disk refuses more.
const BLOCK_SIZE: usize = 4096;
/// No record is longer: a size field that says more is not believed, so memory stays bounded.
const RECORD_SIZE_MAX: usize = 576 << 20;

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What sort, from a fixed list; the words for people are chosen by it.
    pub kind: &'static str,
    pub path: PathBuf,
    /// First byte of the file it concerns.
    pub at: u64,
    /// How many bytes, 0 if that means nothing.
    pub size: u64,
    pub what: String,
    /// The queue it concerns.
    pub queue: Option<(String, i32)>,
    /// How many messages or entries.
    pub count: u64,
}

/// One file of the log directory.
#[derive(Debug, Clone)]
pub struct SegmentFile {
    pub base: u64,
    pub len: u64,
    pub path: PathBuf,
}

/// A range of the log that holds no valid record though one is behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    pub from: u64,
    pub to: u64,
    pub reason: &'static str,
}

/// Receives what a walk finds, in the order of the log.
pub trait Sink {
    /// A record valid in every respect; `bytes` are all of it. `regions` are the bad ones before it.
    fn record(&mut self, bytes: &[u8], record: &Record<'_>, regions: &[Region]) -> Result<()>;
}

/// Whether the position lies in one of the regions, which are in order.
pub fn is_within(regions: &[Region], log_offset: u64) -> bool {
    let behind = regions.partition_point(|region| region.to <= log_offset);
    regions
        .get(behind)
        .is_some_and(|region| region.from <= log_offset)
}

/// What was counted on the way.
#[derive(Debug, Clone, Default)]
pub struct Counted {
    pub records: u64,
    pub record_bytes: u64,
    /// Records of which only the body has a checksum.
    pub unguarded: u64,
    /// Valid records behind the first bad place, which Apache would cut off with it.
    pub records_behind: u64,
    pub bytes_behind: u64,
    /// Where the last valid record ends.
    pub end: u64,
}

/// A bad place whose end is not found yet.
struct Search {
    from: u64,
    reason: &'static str,
    /// First byte there that is not zero.
    data: Option<u64>,
}

/// The walk over all segments.
pub struct LogWalk {
    disk: Arc<dyn Disk>,
    pub dir: PathBuf,
    pub segments: Vec<SegmentFile>,
    pub segment_size: u64,
    /// Where the first segment begins.
    pub min: u64,
    pub regions: Vec<Region>,
    pub counted: Counted,
    pub findings: Vec<Finding>,
    crcs: CrcReader,
    /// Bad up to the end of its segment: damage if a record follows, else the end of the log.
    open_end: Option<Search>,
    search: Option<Search>,
    current: usize,
    file: Option<Arc<dyn DiskFile>>,
    /// Where the segment last opened ends.
    behind_last: u64,
    position: u64,
    buffer: Vec<u8>,
    buffer_at: u64,
    done: u64,
}

impl LogWalk {
    /// Lists the directory; what is wrong with the list itself becomes findings.
    pub fn new(disk: Arc<dyn Disk>, dir: PathBuf, configured_size: u64) -> Result<LogWalk> {
        let entries = disk
            .list(&dir)
            .map_err(|error| failed("list", &dir, &error))?;
        let mut segments = Vec::new();
        let mut findings = Vec::new();
        for entry in entries.into_iter().filter(|entry| !entry.is_dir) {
            let path = dir.join(&entry.name);
            match base_of(&entry.name) {
                Some(base) => segments.push(SegmentFile {
                    base,
                    len: entry.len,
                    path,
                }),
                None => findings.push(finding("stray-file", path, 0, entry.len, "not a segment")),
            }
        }
        segments.sort_by_key(|segment| segment.base);
        if segments.last().is_some_and(|last| last.len == 0) {
            segments.pop(); // the start removes it, as Apache's does
        }
        let noted = remembered::segment_size(&*disk, &dir)?;
        let fits = |&size: &u64| segments.iter().all(|segment| segment.len <= size);
        let segment_size = noted
            .filter(fits)
            .or_else(|| common_size(&segments))
            .unwrap_or(configured_size)
            .max(1024);
        let min = segments.first().map_or(0, |first| first.base);
        let crcs = survey_crcs(&disk, &dir, &segments, segment_size)?;
        let mut walk = LogWalk {
            crcs,
            disk,
            dir,
            segments,
            segment_size,
            min,
            regions: Vec::new(),
            counted: Counted {
                end: min,
                ..Counted::default()
            },
            findings,
            open_end: None,
            search: None,
            current: 0,
            file: None,
            behind_last: min,
            position: min,
            buffer: Vec::new(),
            buffer_at: min,
            done: 0,
        };
        walk.check_list();
        Ok(walk)
    }

    fn check_list(&mut self) {
        let size = self.segment_size;
        let mut next = self.min;
        for segment in &self.segments {
            if segment.len != size {
                let what = format!("{} bytes, a segment has {size}", segment.len);
                self.findings.push(finding(
                    "segment-size",
                    segment.path.clone(),
                    segment.len.min(size),
                    segment.len.abs_diff(size),
                    &what,
                ));
            }
            if segment.base > next {
                let path = self.dir.join(crate::segment::file_name(next));
                let missing = segment.base - next;
                self.findings
                    .push(finding("segment-missing", path, 0, missing, "missing"));
            } else if segment.base < next || !segment.base.is_multiple_of(size) {
                let what = format!("no segment of {size} bytes begins at {}", segment.base);
                self.findings.push(finding(
                    "segment-misplaced",
                    segment.path.clone(),
                    0,
                    0,
                    &what,
                ));
            }
            next = next.max(segment.base + size);
        }
    }

    /// Bytes there are to look at.
    pub fn size(&self) -> u64 {
        self.segments.iter().map(|segment| segment.len).sum()
    }

    /// Another reader of the log's checksums.
    pub fn crc_reader(&self) -> Result<CrcReader> {
        survey_crcs(&self.disk, &self.dir, &self.segments, self.segment_size)
    }

    /// Bytes looked at so far.
    pub fn done(&self) -> u64 {
        self.done
    }

    pub fn is_at_end(&self) -> bool {
        self.current >= self.segments.len()
    }

    /// Where bytes begin that are no record and have none behind them: an interrupted last write.
    pub fn torn_tail(&self) -> Option<(u64, u64, &'static str)> {
        let tail = self.open_end.as_ref()?;
        tail.data.map(|data| (tail.from, data, tail.reason))
    }

    /// Goes on for about `size` bytes. Errors are those of the disk and of the sink.
    pub fn step(&mut self, size: u64, sink: &mut dyn Sink) -> Result<()> {
        let until = self.done + size;
        while self.done < until && !self.is_at_end() {
            if self.file.is_none() {
                let segment = &self.segments[self.current];
                let opened = self
                    .disk
                    .open(&segment.path)
                    .map_err(|error| failed("open", &segment.path, &error))?;
                self.file = Some(opened);
                let behind_last = self.behind_last;
                self.position = segment.base;
                self.buffer.clear();
                self.buffer_at = segment.base;
                self.behind_last = segment.base + self.segment_size;
                if self.position > behind_last {
                    close_region(&mut self.open_end, &mut self.regions, behind_last);
                    self.regions.push(Region {
                        from: behind_last,
                        to: self.position,
                        reason: "segment missing",
                    });
                }
            }
            if self.search.is_some() {
                self.search_on()?;
            } else {
                self.read_on(until, sink)?;
            }
        }
        Ok(())
    }

    fn segment_end(&self) -> u64 {
        let segment = &self.segments[self.current];
        segment.base + segment.len.min(self.segment_size)
    }

    fn room(&self) -> u64 {
        (self.segments[self.current].base + self.segment_size).saturating_sub(self.position)
    }

    /// Makes at least `want` bytes from the position on known, as far as the file has them.
    fn fill(&mut self, want: usize) {
        let segment = &self.segments[self.current];
        let left = (segment.base + segment.len.min(self.segment_size)) - self.position;
        let size = want.max(BUFFER_SIZE).min(left as usize);
        self.buffer.resize(size, 0);
        let at = self.position - segment.base;
        let mut got = 0;
        if let Some(file) = &self.file {
            got = match file.read_at(&mut self.buffer, at) {
                Ok(got) => got,
                Err(_) => {
                    let path = segment.path.clone();
                    read_blocks(&**file, &mut self.buffer, at, &path, &mut self.findings)
                }
            };
        }
        self.buffer.truncate(got);
        self.buffer_at = self.position;
    }

    fn known(&self) -> &[u8] {
        let from = (self.position - self.buffer_at) as usize;
        self.buffer.get(from..).unwrap_or_default()
    }

    fn advance(&mut self, to: u64) {
        self.done += to - self.position;
        self.position = to;
    }

    fn next_segment(&mut self) {
        let segment = &self.segments[self.current];
        self.done += (segment.base + segment.len).saturating_sub(self.position);
        self.current += 1;
        self.file = None;
    }

    /// Records up to the end of what is known.
    fn read_on(&mut self, until: u64, sink: &mut dyn Sink) -> Result<()> {
        while self.done < until {
            if self.position >= self.segment_end() {
                if self.room() > 0 {
                    // Cut short: the rest of the segment is not there at all.
                    self.search = Some(Search {
                        from: self.position,
                        reason: "the file ends here",
                        data: None,
                    });
                    return self.search_on();
                }
                self.next_segment();
                return Ok(());
            }
            let room = self.room();
            let from = (self.position - self.buffer_at) as usize;
            let known = self.buffer.get(from..).unwrap_or_default();
            let base = self.segments[self.current].base;
            // Where the whole record's checksum is known, the body's need not be looked at.
            let crc = if known.is_empty() {
                None
            } else {
                self.crcs.expected(base, self.position)
            };
            match record::parse(known, self.position, room, crc.is_none()) {
                Found::Record(found) if crc.is_some_and(|crc| crc != record_crc(found.bytes)) => {
                    let reason = why_differs(found.bytes, self.position, room);
                    self.start_search(reason);
                    return Ok(());
                }
                Found::Record(found) => {
                    close_region(&mut self.open_end, &mut self.regions, self.position);
                    let size = found.size;
                    let counted = &mut self.counted;
                    counted.records += 1;
                    counted.record_bytes += size as u64;
                    counted.unguarded += u64::from(crc.is_none());
                    if !self.regions.is_empty() {
                        counted.records_behind += 1;
                        counted.bytes_behind += size as u64;
                    }
                    counted.end = self.position + size as u64;
                    sink.record(&known[..size], &found, &self.regions)?;
                    self.advance(self.position + size as u64);
                }
                Found::Blank => {
                    self.next_segment();
                    return Ok(());
                }
                Found::Partial(size) => {
                    if size > RECORD_SIZE_MAX {
                        self.start_search("total size out of range");
                        return Ok(());
                    }
                    self.fill(size);
                    if self.buffer.len() < size {
                        self.start_search("the file ends within a record");
                        return Ok(());
                    }
                }
                Found::Bad(reason) => {
                    self.start_search(reason);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn start_search(&mut self, reason: &'static str) {
        let data = self
            .known()
            .first()
            .filter(|&&byte| byte != 0)
            .map(|_| self.position);
        self.search = Some(Search {
            from: self.position,
            reason,
            data,
        });
        if self.position < self.segment_end() {
            self.advance(self.position + 1);
        }
    }

    /// Looks for the next valid record or blank of this segment, a buffer at a time.
    fn search_on(&mut self) -> Result<()> {
        let segment_end = self.segment_end();
        let base = self.segments[self.current].base;
        if self.position < segment_end {
            let at = self.position - base;
            let data = match &self.file {
                Some(file) => file.next_data(at).map_err(|error| {
                    failed_at("read", &self.segments[self.current].path, at, &error)
                })?,
                None => None,
            };
            let to = data.map_or(segment_end, |data| (base + data.max(at)).min(segment_end));
            self.advance(to);
        }
        if self.position >= segment_end {
            if let Some(search) = self.search.take() {
                self.leave_open(search);
            }
            self.next_segment();
            return Ok(());
        }
        self.fill(BUFFER_SIZE);
        if let Some(search) = &mut self.search {
            if search.data.is_none() {
                let first = self.buffer.iter().position(|&byte| byte != 0);
                search.data = first.map(|first| self.position + first as u64);
            }
        }
        let mut from = 0;
        while let Some(place) = next_magic(&self.buffer, from) {
            let candidate = self.position + place as u64;
            if self.is_valid(candidate) {
                if let Some(search) = self.search.take() {
                    self.close_search(search, candidate);
                }
                self.advance(candidate);
                return Ok(());
            }
            from = place + 1;
        }
        // A record may begin in the last few bytes: they are looked at again.
        let size = self.buffer.len() as u64;
        let to = if size <= 8 || self.position + size >= segment_end {
            segment_end
        } else {
            self.position + size - 8
        };
        self.advance(to);
        Ok(())
    }

    /// The rest of the segment is bad: whether that is damage, the next record tells.
    fn leave_open(&mut self, search: Search) {
        match &mut self.open_end {
            Some(known) => known.data = known.data.or(search.data),
            None => self.open_end = Some(search),
        }
    }

    fn close_search(&mut self, search: Search, to: u64) {
        close_region(&mut self.open_end, &mut self.regions, search.from);
        self.regions.push(Region {
            from: search.from,
            to,
            reason: search.reason,
        });
    }

    fn is_valid(&mut self, log_offset: u64) -> bool {
        let segment = &self.segments[self.current];
        let Some(file) = &self.file else {
            return false;
        };
        let crc = self.crcs.expected(segment.base, log_offset);
        let room = (segment.base + self.segment_size).saturating_sub(log_offset);
        let mut bytes = vec![0u8; record::RECORD_SIZE_MIN];
        loop {
            let at = log_offset - segment.base;
            let Ok(got) = file.read_at(&mut bytes, at) else {
                return false;
            };
            bytes.truncate(got);
            match record::parse(&bytes, log_offset, room, crc.is_none()) {
                Found::Record(found) => {
                    return crc.is_none_or(|crc| crc == record_crc(found.bytes));
                }
                Found::Blank => return true,
                Found::Partial(size) if size > got && size <= RECORD_SIZE_MAX && got > 0 => {
                    if (at + size as u64) > segment.len {
                        return false;
                    }
                    bytes.resize(size, 0);
                }
                _ => return false,
            }
        }
    }
}

fn survey_crcs(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    segments: &[SegmentFile],
    segment_size: u64,
) -> Result<CrcReader> {
    let read = |log_offset, size| read_of(&**disk, segments, segment_size, log_offset, size);
    let root = dir.parent().unwrap_or(dir);
    CrcReader::survey(Arc::clone(disk), root, segment_size, &read)
}

/// Bytes at a log position, as many as there are; what cannot be read is not there.
fn read_of(
    disk: &dyn Disk,
    segments: &[SegmentFile],
    segment_size: u64,
    log_offset: u64,
    size: usize,
) -> Result<Vec<u8>> {
    let is_in = |segment: &&SegmentFile| {
        segment.base <= log_offset && log_offset < segment.base + segment_size
    };
    let Some(segment) = segments.iter().find(is_in) else {
        return Ok(Vec::new());
    };
    let mut bytes = vec![0u8; size];
    let read = |file: Arc<dyn DiskFile>| file.read_at(&mut bytes, log_offset - segment.base);
    let got = disk.open(&segment.path).and_then(read).unwrap_or(0);
    bytes.truncate(got);
    Ok(bytes)
}

/// Reads block by block what cannot be read at once; unreadable blocks count as zeros.
fn read_blocks(
    file: &dyn DiskFile,
    buffer: &mut [u8],
    at: u64,
    path: &Path,
    findings: &mut Vec<Finding>,
) -> usize {
    for (number, block) in buffer.chunks_mut(BLOCK_SIZE).enumerate() {
        let place = at + (number * BLOCK_SIZE) as u64;
        if let Err(error) = file.read_at(block, place) {
            block.fill(0);
            let size = block.len() as u64;
            let is_known = |known: &Finding| known.path == path && known.at == place;
            if !findings.iter().any(is_known) {
                let what = format!("cannot be read: {error}");
                findings.push(finding(
                    "unreadable",
                    path.to_path_buf(),
                    place,
                    size,
                    &what,
                ));
            }
        }
    }
    buffer.len()
}

fn close_region(open_end: &mut Option<Search>, regions: &mut Vec<Region>, to: u64) {
    if let Some(open) = open_end.take() {
        regions.push(Region {
            from: open.from,
            to,
            reason: open.reason,
        });
    }
}

pub(crate) fn finding(
    kind: &'static str,
    path: PathBuf,
    at: u64,
    size: u64,
    what: &str,
) -> Finding {
    Finding {
        kind,
        path,
        at,
        size,
        what: what.to_string(),
        queue: None,
        count: 0,
    }
}

/// The size most segments have.
fn common_size(segments: &[SegmentFile]) -> Option<u64> {
    let count = |size| segments.iter().filter(|other| other.len == size).count();
    let sizes = segments.iter().map(|segment| segment.len);
    let usable = sizes.filter(|&size| size >= 1024 && size <= i32::MAX as u64);
    usable.max_by_key(|&size| (count(size), size))
}

/// Where the next record or blank could begin at or behind `from`: four bytes before a magic number.
fn next_magic(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from + 4..)?;
    let found = rest.windows(4).position(|magic| {
        (magic[0] == 0xDA || magic[0] == 0xCB)
            && [record::MAGIC_V1, record::MAGIC_V2, record::MAGIC_BLANK]
                .iter()
                .any(|known| magic == known.to_be_bytes())
    })?;
    Some(from + found)
}
