//! The stretch of the log that was read last, for records that lie among those of other queues.
//!
//! Whoever reads several queues of a topic reads the same stretch once for each of them. What is picked from
//! here is checked like what comes from the file, as the file's pages in memory are no better than this. The
//! log's committed bytes never change, so it need not be told of anything.

use crate::commit_log::CommitLog;
use crate::error::Result;
use crate::file_cache::FileCache;

/// Bytes read along before and behind what is wanted, where neighbours of its first and last record are: at
/// most so many, and no more than it has itself.
const MARGIN_MAX: u64 = 8192;
/// A stretch that is longer is forgotten when the next one is read.
const KEPT: usize = 256 << 10;

#[derive(Default)]
pub struct Window {
    from: u64,
    /// What is known of it; `bytes` is longer, for its memory.
    len: usize,
    bytes: Vec<u8>,
}

impl Window {
    /// The bytes of the log from `from` up to `to`, which lie in one segment and before `commit`. Those that
    /// are not there are zero. What is read along may fail where that alone would not.
    pub fn read(
        &mut self,
        log: &CommitLog,
        cache: &mut FileCache,
        (from, to): (u64, u64),
        commit: u64,
    ) -> Result<&[u8]> {
        if from < self.from || to > self.from + self.len as u64 {
            self.fill(log, cache, (from, to), commit)?;
        }
        let place = (from - self.from) as usize;
        Ok(&self.bytes[place..place + (to - from) as usize])
    }

    fn fill(
        &mut self,
        log: &CommitLog,
        cache: &mut FileCache,
        (from, to): (u64, u64),
        commit: u64,
    ) -> Result<()> {
        let base = log.base_of(from);
        let margin = MARGIN_MAX.min(to - from);
        let first = from.saturating_sub(margin).max(base);
        let last = (to + margin).min(base + log.segment_size()).min(commit);
        let size = (last.max(to) - first) as usize;
        if self.bytes.len() > KEPT {
            self.bytes = Vec::new();
        }
        if self.bytes.len() < size {
            self.bytes.resize(size, 0);
        }
        self.len = 0;
        let got = log.read_some(cache, &mut self.bytes[..size], first)?;
        self.bytes[got..size].fill(0);
        self.from = first;
        // What is missing may come yet: it is not to be taken for zeros the next time.
        self.len = got;
        Ok(())
    }
}
