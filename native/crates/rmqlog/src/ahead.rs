//! Reads of what may not be in memory.
//!
//! The kernel reads ahead for whoever reads a file from one end to the other, in steps that grow to what the
//! device is set to, 8 MiB on some machines; making room for that much takes milliseconds, and so does the
//! device, and both pass within the read. Who reads here serves others at the same time. So what is in memory
//! is taken without waiting. Where something is not, a stream begins: steps ahead of its reader are brought
//! into memory by a thread ([`crate::fetch`]), and by the time it comes there they are. A reader in a hurry is
//! told what is missing instead of waiting for it.

use std::io;
use std::sync::Arc;

use crate::disk::DiskFile;
use crate::fetch::{Fetches, Range};
use crate::file_cache::FileKey;

/// Bytes asked for in the first step; each next one is twice as long.
const STEP_MIN: u64 = 64 << 10;
const STEP_MAX: u64 = 1 << 20;
/// Streams kept: as many readers go on.
const STREAMS_MAX: usize = 64;

/// Who reads on where nothing was in memory.
struct Stream {
    key: FileKey,
    /// Where its last read ended.
    at: u64,
    /// Up to where the file was asked for.
    until: u64,
    step: u64,
    used: u64,
}

/// What a reader in a hurry has not got: a range of a file, and what will be wanted behind it.
pub struct Missing {
    pub wanted: Range,
    pub until: u64,
}

/// Reads, and the streams of those that went where nothing was in memory.
#[derive(Default)]
pub struct ReadAhead {
    fetches: Option<Arc<Fetches>>,
    streams: Vec<Stream>,
    uses: u64,
    /// Nothing is waited for: see [`ReadAhead::take_missing`].
    pub is_hurried: bool,
    missing: Option<Missing>,
}

impl ReadAhead {
    /// `fetches` bring into memory what will be wanted.
    pub fn set_fetches(&mut self, fetches: Arc<Fetches>) {
        self.fetches = Some(fetches);
    }

    /// What the last read did not find in memory, as nobody waited for it; it failed with
    /// [`io::ErrorKind::WouldBlock`].
    pub fn take_missing(&mut self) -> Option<Missing> {
        self.missing.take()
    }

    /// Whether there is such.
    pub fn is_missing(&self) -> bool {
        self.missing.is_some()
    }

    /// Reads like [`DiskFile::read_at`]. `end`: up to where the file may be asked for.
    pub fn read(
        &mut self,
        key: FileKey,
        file: &Arc<dyn DiskFile>,
        buffer: &mut [u8],
        at: u64,
        end: u64,
    ) -> io::Result<usize> {
        let Some(fetches) = &self.fetches else {
            return file.read_at(buffer, at);
        };
        if self.missing.is_some() {
            // Nothing comes of this any more, and what was wanted first is often all that is wanted.
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let upto = at + buffer.len() as u64;
        if let Some(got) = file.read_cached_at(buffer, at)? {
            if !self.streams.is_empty() {
                let fetches = Arc::clone(fetches);
                self.go_on(key, file, (at, upto), end, &fetches);
            }
            return Ok(got);
        }
        let fetches = Arc::clone(fetches);
        let until = self.begin(key, (at, upto), end);
        if self.is_hurried {
            let wanted = Range::new(file, at, upto);
            self.missing = Some(Missing { wanted, until });
            return Err(io::ErrorKind::WouldBlock.into());
        }
        fetches.bring(Range::new(file, at, until));
        file.read_at(buffer, at)
    }

    /// The stream of who reads from `at` on.
    fn place(&self, key: FileKey, at: u64) -> Option<usize> {
        let is_near =
            |next: &Stream| next.key == key && next.at <= at + STEP_MIN && at <= next.until;
        self.streams.iter().position(is_near)
    }

    fn go_on(
        &mut self,
        key: FileKey,
        file: &Arc<dyn DiskFile>,
        (at, upto): (u64, u64),
        end: u64,
        fetches: &Arc<Fetches>,
    ) {
        let Some(place) = self.place(key, at) else {
            return;
        };
        self.uses += 1;
        let stream = &mut self.streams[place];
        stream.used = self.uses;
        stream.at = stream.at.max(upto);
        if stream.until - upto.min(stream.until) >= stream.step {
            return;
        }
        stream.step = (stream.step * 2).min(STEP_MAX);
        let from = stream.until.max(upto);
        let until = (from + stream.step).min(end);
        if until <= from {
            self.streams.swap_remove(place); // it has come to the end
            return;
        }
        stream.until = until;
        fetches.bring(Range::new(file, from, until));
    }

    /// Begins a stream, or goes on with the one whose reader is too quick; answers up to where the file is
    /// to be asked for.
    fn begin(&mut self, key: FileKey, (at, upto): (u64, u64), end: u64) -> u64 {
        self.uses += 1;
        let found = self.place(key, at);
        let (step, before) = match found {
            Some(place) => {
                let before = &self.streams[place];
                ((before.step * 2).min(STEP_MAX), before.until)
            }
            None => (STEP_MIN, 0),
        };
        let until = (upto + step).min(end).max(upto).max(before);
        let stream = Stream {
            key,
            at: upto,
            until,
            step,
            used: self.uses,
        };
        match found.or_else(|| self.least_used()) {
            Some(place) => self.streams[place] = stream,
            None => self.streams.push(stream),
        }
        until
    }

    /// Whose place a new one takes, if there is no more room.
    fn least_used(&self) -> Option<usize> {
        if self.streams.len() < STREAMS_MAX {
            return None;
        }
        let numbered = self.streams.iter().enumerate();
        numbered
            .min_by_key(|(_, next)| next.used)
            .map(|(place, _)| place)
    }
}
