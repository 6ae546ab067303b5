//! The commit log: one byte string in segment files of equal size.
//!
//! Appends of a turn are collected in one buffer and put into the files by [`Pen::write`], one pwrite per
//! touched segment. There is one pen: whoever has it writes, the caller's thread or the writer's, and
//! meanwhile the next turn is collected. What comes back with the pen says how far `written` is. Roll rule (Apache's `DefaultAppendMessageCallback`): a record that would
//! leave less than 8 bytes in its segment goes to the next one, and a blank record fills the rest.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::crc_file::record_crc;
use crate::crc_log::CrcLog;
use crate::crc_pen::{self, CrcWork};
use crate::damage::Hole;
use crate::disk::{Disk, DiskFile};
use crate::error::{failed, failed_at, is_full, Result, StoreError};
use crate::file_cache::{FileCache, FileKey};
use crate::flush::FailureNote;
use crate::record::{encode_blank, BLANK_SIZE};
use crate::scan::LogFiles;
use crate::segment::{file_name, make, SegmentMaker};

/// Bytes one turn may collect before it is written.
pub const TURN_SIZE_MAX: usize = 256 << 20;
/// Bytes that may wait for a slow disk: those being written and those behind them.
pub const WAITING_SIZE_MAX: usize = 64 << 20;
/// Less than this is not reserved ahead on a disk that fills up.
const RESERVE_STEP: u64 = 64 << 10;
/// A turn buffer larger than this is given back after its turn.
const TURN_SIZE_KEPT: usize = 4 << 20;

struct Segment {
    base: u64,
    file: Arc<dyn DiskFile>,
}

/// The part of a turn that goes into one segment.
struct Piece {
    base: u64,
    file: Arc<dyn DiskFile>,
    /// Log position of its first byte.
    log_offset: u64,
    /// Where its bytes begin in the turn buffer; they end where the next piece's begin.
    from: usize,
}

/// What was appended between two writes.
#[derive(Default)]
pub struct Turn {
    bytes: Vec<u8>,
    pieces: Vec<Piece>,
    /// Each record with the checksum of all of it.
    crcs: Vec<crc_pen::Record>,
    /// Log position behind its last byte, once it is handed out.
    end: u64,
}

/// Bytes a failed write may have left behind the log's end.
struct Leftover {
    file: Arc<dyn DiskFile>,
    base: u64,
    at: u64,
    len: u64,
}

/// What a write touched, for the flusher.
pub type Written = Vec<(PathBuf, Arc<dyn DiskFile>)>;

/// Why a write failed, and whether the disk is merely full.
pub struct WriteFailed {
    pub error: StoreError,
    pub is_full: bool,
}

/// What it takes to write: only its holder touches the log's files.
pub struct Pen {
    dir: PathBuf,
    segment_size: u64,
    reserve_ahead: u64,
    /// As much of `reserve_ahead` as the disk has lately had room for.
    reserve_now: u64,
    /// The segment written last, and the position up to which disk space is known to be reserved in it.
    reserved: (u64, u64),
    leftovers: Vec<Leftover>,
    /// What was a leftover is zero, and not synced yet.
    cleared: Written,
    note: Box<FailureNote>,
    /// Checksums of records of earlier turns, to be written with this one.
    crcs: Option<Box<CrcWork>>,
}

pub struct CommitLog {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    segment_size: u64,
    /// First position still on disk.
    min: u64,
    written: u64,
    appended: u64,
    current: Option<Segment>,
    maker: SegmentMaker,
    /// Not here while a turn is being written.
    pen: Option<Pen>,
    turn: Turn,
    /// Bytes of the turn that is being written.
    handed_size: usize,
    /// Memory of the turn written last, for the one after the next.
    spare: Vec<u8>,
    crcs: CrcLog,
}

impl CommitLog {
    /// A log whose segments reach from `min` to `end`; the files were looked at by recovery.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        segment_size: u64,
        reserve_ahead: u64,
        min: u64,
        end: u64,
    ) -> Result<CommitLog> {
        let maker = SegmentMaker::start(Arc::clone(&disk), dir.clone(), segment_size)
            .map_err(|error| failed("start the segment maker", &dir, &error))?;
        let root = dir.parent().unwrap_or(&dir);
        let crcs = CrcLog::open(Arc::clone(&disk), root, segment_size, end);
        let pen = Pen {
            dir: dir.clone(),
            segment_size,
            reserve_ahead,
            reserve_now: reserve_ahead,
            reserved: (0, 0),
            leftovers: Vec::new(),
            cleared: Vec::new(),
            note: Box::new(FailureNote::new(Arc::clone(&disk), root)),
            crcs: None,
        };
        let mut log = CommitLog {
            disk,
            dir,
            segment_size,
            min,
            written: end,
            appended: end,
            current: None,
            maker,
            pen: Some(pen),
            turn: Turn::default(),
            handed_size: 0,
            spare: Vec::new(),
            crcs,
        };
        let base = log.base_of(end);
        if log.disk.exists(&log.path_of(base)) {
            if end == base {
                // A killed process may have been making it: nothing goes in before it is on disk.
                make(&*log.disk, &log.dir, base, segment_size)
                    .map_err(|error| failed("make", &log.path_of(base), &error))?;
            }
            log.current = Some(log.open_segment(base)?);
        } else {
            log.maker.order(base);
        }
        log.order_next();
        Ok(log)
    }

    pub fn min(&self) -> u64 {
        self.min
    }

    /// Gives up the oldest segment: what was in it is no part of the log any more. Its file is the
    /// caller's to remove; whoever has it open reads on.
    pub fn leave_oldest(&mut self, cache: &mut FileCache) -> PathBuf {
        let path = self.path_of(self.min);
        cache.forget(FileKey::Segment(self.min));
        self.crcs.forget(self.min);
        self.min += self.segment_size;
        path
    }

    pub fn written(&self) -> u64 {
        self.written
    }

    pub fn appended(&self) -> u64 {
        self.appended
    }

    pub fn segment_size(&self) -> u64 {
        self.segment_size
    }

    pub fn base_of(&self, log_offset: u64) -> u64 {
        log_offset - log_offset % self.segment_size
    }

    pub fn path_of(&self, log_offset: u64) -> PathBuf {
        self.dir.join(file_name(self.base_of(log_offset)))
    }

    /// Why the log cannot go on behind its current segment, if the device failed at making the next.
    pub fn failure(&self) -> Option<&String> {
        self.maker.failure()
    }

    fn open_segment(&self, base: u64) -> Result<Segment> {
        let path = self.path_of(base);
        let file = self
            .disk
            .open(&path)
            .map_err(|error| failed("open", &path, &error))?;
        Ok(Segment { base, file })
    }

    /// Asks for the next segment once the current one is mostly used.
    fn order_next(&self) {
        if let Some(current) = &self.current {
            if self.appended - current.base > self.segment_size / 10 * 7 {
                self.maker.order(current.base + self.segment_size);
            }
        }
    }

    /// Finds room for `size` bytes in one segment and answers the log position they will have. A roll
    /// adds the blank record to the turn.
    pub fn place(&mut self, size: usize) -> Result<u64> {
        if (size + BLANK_SIZE) as u64 > self.segment_size {
            return Err(StoreError::Illegal(format!(
                "record of {size} bytes does not fit into a segment of {} bytes",
                self.segment_size
            )));
        }
        let waiting = self.handed_size + self.turn.bytes.len();
        if self.is_handed_out() && waiting + size > WAITING_SIZE_MAX {
            return Err(StoreError::Busy(format!(
                "the disk is slow: {waiting} bytes wait to be written, {WAITING_SIZE_MAX} may"
            )));
        }
        if self.turn.bytes.len() + size > TURN_SIZE_MAX {
            return Err(StoreError::Failed(format!(
                "more than {TURN_SIZE_MAX} bytes appended before a write"
            )));
        }
        let base = self.base_of(self.appended);
        let room = base + self.segment_size - self.appended;
        if (size + BLANK_SIZE) as u64 > room {
            let next = base + self.segment_size;
            let segment = self.take_segment(next)?;
            if self.turn.pieces.is_empty() {
                self.begin_piece()?;
            }
            encode_blank(room, &mut self.turn.bytes);
            self.appended = next;
            self.current = Some(segment);
            self.begin_piece()?;
        } else if self.turn.pieces.is_empty() {
            if self
                .current
                .as_ref()
                .is_none_or(|current| current.base != base)
            {
                self.current = Some(self.take_segment(base)?);
            }
            self.begin_piece()?;
        }
        Ok(self.appended)
    }

    fn take_segment(&self, base: u64) -> Result<Segment> {
        let file = self.maker.take(base).map_err(|error| {
            let path = self.path_of(base);
            if error.kind() == ErrorKind::TimedOut {
                return StoreError::Busy(format!(
                    "the disk is slow: {} is not made yet",
                    path.display()
                ));
            }
            failed("create", &path, &error)
        })?;
        Ok(Segment { base, file })
    }

    fn begin_piece(&mut self) -> Result<()> {
        let Some(current) = &self.current else {
            return Err(StoreError::Failed("no segment to write into".to_string()));
        };
        self.turn.pieces.push(Piece {
            base: current.base,
            file: Arc::clone(&current.file),
            log_offset: self.appended,
            from: self.turn.bytes.len(),
        });
        Ok(())
    }

    /// The turn buffer; what is added is made part of the log by [`CommitLog::added`].
    pub fn turn(&mut self) -> &mut Vec<u8> {
        &mut self.turn.bytes
    }

    pub fn added(&mut self, size: usize) {
        let from = self.turn.bytes.len().saturating_sub(size);
        let crc = record_crc(&self.turn.bytes[from..]);
        self.turn.crcs.push((self.appended, crc));
        self.appended += size as u64;
    }

    pub fn has_turn(&self) -> bool {
        !self.turn.pieces.is_empty()
    }

    /// Whether a turn is being written.
    pub fn is_handed_out(&self) -> bool {
        self.pen.is_none()
    }

    /// Gives the turn away, and the pen to write it with, if it is here. They come back by
    /// [`CommitLog::wrote`] or [`CommitLog::take_back`].
    pub fn hand_out(&mut self) -> Option<(Pen, Turn)> {
        let mut pen = self.pen.take()?;
        pen.crcs = self.crcs.take_due().map(Box::new);
        let next = Turn {
            bytes: std::mem::take(&mut self.spare),
            ..Turn::default()
        };
        let mut turn = std::mem::replace(&mut self.turn, next);
        turn.end = self.appended;
        self.handed_size = turn.bytes.len();
        Some((pen, turn))
    }

    /// The turn is in the files.
    pub fn wrote(&mut self, pen: Pen, turn: Turn) {
        self.crcs.added(&turn.crcs);
        self.written = turn.end;
        self.return_pen(pen, turn);
        self.order_next();
    }

    /// The turn could not be written: it does not count, nor does what was appended behind it.
    pub fn take_back(&mut self, pen: Pen, turn: Turn) {
        self.turn.pieces.clear();
        self.turn.bytes.clear();
        self.turn.crcs.clear();
        self.fall_back(&turn.pieces);
        self.return_pen(pen, turn);
    }

    fn return_pen(&mut self, mut pen: Pen, turn: Turn) {
        if let Some(work) = pen.crcs.take() {
            self.crcs.wrote(*work);
        }
        self.pen = Some(pen);
        let mut bytes = turn.bytes;
        self.handed_size = 0;
        bytes.clear();
        if bytes.capacity() <= TURN_SIZE_KEPT {
            self.spare = bytes;
        }
    }

    /// Takes the turn back that is not handed out.
    pub fn discard(&mut self) {
        let pieces = std::mem::take(&mut self.turn.pieces);
        self.turn.bytes.clear();
        self.turn.crcs.clear();
        self.fall_back(&pieces);
    }

    fn fall_back(&mut self, pieces: &[Piece]) {
        self.appended = self.written;
        let base = self.base_of(self.written);
        if self
            .current
            .as_ref()
            .is_some_and(|current| current.base != base)
        {
            let earlier = pieces.first().filter(|piece| piece.base == base);
            self.current = earlier.map(|piece| Segment {
                base,
                file: Arc::clone(&piece.file),
            });
        }
    }
}

impl Pen {
    /// Puts a turn into the files: all of it, or (after an error) none of it counts.
    pub fn write(&mut self, turn: &Turn) -> std::result::Result<Written, WriteFailed> {
        let mut touched = Written::with_capacity(turn.pieces.len());
        let answer = self.write_pieces(turn, &mut touched);
        if answer.is_err() {
            // Best done at once; if the disk refuses, the next write tries again before its own.
            drop(self.clear_leftovers());
        } else if let Some(crcs) = &mut self.crcs {
            crcs.write();
        }
        answer.map(|()| touched)
    }

    fn path_of(&self, base: u64) -> PathBuf {
        self.dir.join(file_name(base))
    }

    fn write_pieces(
        &mut self,
        turn: &Turn,
        touched: &mut Written,
    ) -> std::result::Result<(), WriteFailed> {
        self.clear_leftovers()?;
        self.sync_cleared()?;
        for (number, piece) in turn.pieces.iter().enumerate() {
            let next = turn.pieces.get(number + 1);
            let to = next.map_or(turn.bytes.len(), |next| next.from);
            let len = (to - piece.from) as u64;
            if next.is_none() {
                self.reserve(piece, piece.log_offset + len)?;
            } // else the rest of a segment that is being left; it was reserved before
            let at = piece.log_offset - piece.base;
            let leftover = Leftover {
                file: Arc::clone(&piece.file),
                base: piece.base,
                at,
                len,
            };
            self.leftovers.push(leftover);
            piece
                .file
                .write_at(&turn.bytes[piece.from..to], at)
                .map_err(|short| {
                    let path = self.path_of(piece.base);
                    WriteFailed {
                        is_full: is_full(&short.source),
                        error: failed_at("write", &path, at + short.written as u64, &short.source),
                    }
                })?;
            touched.push((self.path_of(piece.base), Arc::clone(&piece.file)));
        }
        self.leftovers.clear();
        Ok(())
    }

    /// Reserves disk space up to `end` and `reserve_ahead` bytes more, within the piece's segment. On a
    /// disk that fills up less is reserved ahead, in the end nothing: only where the record itself has
    /// no room the disk is full.
    fn reserve(&mut self, piece: &Piece, end: u64) -> std::result::Result<(), WriteFailed> {
        let path = self.path_of(piece.base);
        if self.reserved.0 != piece.base {
            self.reserved = (piece.base, 0);
        }
        if end <= self.reserved.1 {
            return Ok(());
        }
        let from = self.reserved.1.max(piece.log_offset);
        let at = from - piece.base;
        let mut ahead = self.reserve_now;
        loop {
            let to = (end + ahead).min(piece.base + self.segment_size);
            match piece.file.allocate(at, to - from) {
                Ok(()) => {
                    self.reserved.1 = to;
                    let more = ahead.max(RESERVE_STEP / 2) * 2;
                    self.reserve_now = more.min(self.reserve_ahead);
                    return Ok(());
                }
                Err(source) if is_full(&source) && ahead > 0 => {
                    ahead = if ahead > RESERVE_STEP { ahead / 2 } else { 0 };
                    self.reserve_now = ahead;
                }
                Err(source) => {
                    return Err(WriteFailed {
                        is_full: is_full(&source),
                        error: failed_at("reserve space", &path, at, &source),
                    });
                }
            }
        }
    }

    /// Makes the bytes of failed writes zero again: behind the end there must be nothing that could
    /// later pass for a record.
    fn clear_leftovers(&mut self) -> std::result::Result<(), WriteFailed> {
        if mutant!("leftovers_stay") {
            self.leftovers.clear();
        }
        while let Some(leftover) = self.leftovers.last() {
            leftover
                .file
                .zero(leftover.at, leftover.len)
                .map_err(|source| WriteFailed {
                    is_full: is_full(&source),
                    error: failed_at("clear", &self.path_of(leftover.base), leftover.at, &source),
                })?;
            self.reserved.1 = 0; // clearing may have given the space back
            let path = self.path_of(leftover.base);
            if self.cleared.iter().all(|(known, _)| *known != path) {
                self.cleared.push((path, Arc::clone(&leftover.file)));
            }
            self.leftovers.pop();
        }
        Ok(())
    }

    /// Before anything else is written there: a power cut must not leave some sectors of what was refused
    /// and some of what came after it, which together could pass for a record.
    fn sync_cleared(&mut self) -> std::result::Result<(), WriteFailed> {
        for (path, file) in std::mem::take(&mut self.cleared) {
            if mutant!("cleared_not_synced") {
                continue;
            }
            if let Err(source) = file.sync_data() {
                let error = failed("sync", &path, &source);
                self.note.write(&error.to_string());
                return Err(WriteFailed {
                    error,
                    is_full: false,
                });
            }
        }
        Ok(())
    }
}

impl CommitLog {
    /// Reads written bytes; they must lie in one segment.
    pub fn read_at(&self, cache: &mut FileCache, buffer: &mut [u8], log_offset: u64) -> Result<()> {
        let base = self.base_of(log_offset);
        let at = log_offset - base;
        let file = self.file_of(cache, base)?;
        let got = file
            .read_at(buffer, at)
            .map_err(|error| failed_at("read", &self.path_of(base), at, &error))?;
        if got < buffer.len() {
            return Err(StoreError::Failed(format!(
                "{}: read at byte {at}: the file ends after {got} of {} bytes",
                self.path_of(base).display(),
                buffer.len()
            )));
        }
        Ok(())
    }

    /// Reads what there is of written bytes, which must lie in one segment; answers how many that were. A
    /// missing segment has none.
    pub fn read_some(
        &self,
        cache: &mut FileCache,
        buffer: &mut [u8],
        log_offset: u64,
    ) -> Result<usize> {
        let base = self.base_of(log_offset);
        if cache.get(FileKey::Segment(base)).is_none()
            && self
                .current
                .as_ref()
                .is_none_or(|current| current.base != base)
            && !self.disk.exists(&self.path_of(base))
        {
            return Ok(0);
        }
        let at = log_offset - base;
        let file = self.file_of(cache, base)?;
        let end = self.segment_size.min(self.written - base);
        cache
            .ahead
            .read(FileKey::Segment(base), &file, buffer, at, end)
            .map_err(|error| failed_at("read", &self.path_of(base), at, &error))
    }

    fn file_of(&self, cache: &mut FileCache, base: u64) -> Result<Arc<dyn DiskFile>> {
        if let Some(current) = self.current.as_ref().filter(|current| current.base == base) {
            return Ok(Arc::clone(&current.file));
        }
        if let Some(file) = cache.get(FileKey::Segment(base)) {
            return Ok(file);
        }
        let path = self.path_of(base);
        let file = self
            .disk
            .open(&path)
            .map_err(|error| failed("open", &path, &error))?;
        cache.put(FileKey::Segment(base), Arc::clone(&file));
        Ok(file)
    }

    /// The checksums of whole records.
    pub fn crcs(&mut self) -> &mut CrcLog {
        &mut self.crcs
    }

    /// Makes checksums for records at the log's end that have none; see [`CrcLog::adopt`].
    pub fn adopt_crcs(&mut self, files: &LogFiles, holes: &[Hole]) {
        #[cfg(test)] // else it were chance which of them touches the disk first
        self.maker.settle();
        self.crcs.adopt(files, self.written, holes);
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Waits until no segment is being made.
    #[cfg(test)]
    pub fn settle(&self) {
        self.maker.settle();
    }

    /// Ends the segment maker; a segment it made ahead stays, empty, as Apache leaves it too.
    pub fn stop(&mut self) {
        self.maker.stop();
    }
}
