//! Our own notes beside Apache's files, in `<root>/pyromq/`: they make a restart short.
//!
//! `dispatch`: up to which log position queues and index were written, and up to which synced; whether
//! the last stop was clean; up to where the log itself was synced. `queues`: which queues there were and
//! how long, so that a missing one is noticed, and which topics were dropped up to which log position, so
//! that a rebuild does not bring them back. Both are extra: missing, torn, or contradicted by the log
//! (Apache ran here) means that more of the log is looked at, never an error. Only a file from a newer
//! version that says we cannot read it is one.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use crate::checkpoint::{read_file, write_file};
use crate::disk::Disk;
use crate::error::{failed, failed_at, Result, StoreError};

const DISPATCH_MAGIC: &[u8; 8] = b"PYROMQ-D";
const QUEUES_MAGIC: &[u8; 8] = b"PYROMQ-Q";
/// The version this code writes, and the newest it can read.
pub(crate) const FORMAT: u32 = 1;
/// Oldest version that can read what this code writes.
pub(crate) const OLDEST_READER: u32 = 1;
/// The dispatch file has two slots; a torn write leaves the other one.
const SLOT_SIZE: usize = 512;
const BOOT_ID_SIZE: usize = 64;
const QUEUES_SIZE_MAX: usize = 256 << 20;

/// A position of the log and what belongs to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Point {
    /// Queues hold a unit for every record before this.
    pub log_to: u64,
    /// The index holds entries for every record before this.
    pub index_to: u64,
    /// Name of the newest index file then, and its entry count.
    pub index_name: u64,
    pub index_count: u32,
    /// The last record before `log_to`: where it begins and the CRC of all its bytes. It proves that the
    /// log is still the one meant. Size 0: there was none.
    pub last_offset: u64,
    pub last_size: u32,
    pub last_crc: u32,
}

const POINT_SIZE: usize = 44;

impl Point {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.log_to.to_be_bytes());
        out.extend_from_slice(&self.index_to.to_be_bytes());
        out.extend_from_slice(&self.index_name.to_be_bytes());
        out.extend_from_slice(&self.index_count.to_be_bytes());
        out.extend_from_slice(&self.last_offset.to_be_bytes());
        out.extend_from_slice(&self.last_size.to_be_bytes());
        out.extend_from_slice(&self.last_crc.to_be_bytes());
    }

    fn decode(from: &mut Reader<'_>) -> Option<Point> {
        Some(Point {
            log_to: from.u64()?,
            index_to: from.u64()?,
            index_name: from.u64()?,
            index_count: from.u32()?,
            last_offset: from.u64()?,
            last_size: from.u32()?,
            last_crc: from.u32()?,
        })
    }
}

/// What the dispatch file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marker {
    pub sequence: u64,
    pub is_clean: bool,
    /// The machine's run in which `written` was written.
    pub boot_id: String,
    /// Survives the end of the process.
    pub written: Point,
    /// Survives a power cut.
    pub synced: Point,
    /// The log was synced to here once, whatever queues and index hold now.
    pub log_synced_to: u64,
    /// Bytes of a segment; 0: an older version did not say.
    pub segment_size: u64,
}

impl Marker {
    /// Up to where a sync vouches for what the log holds.
    pub fn vouched_to(&self) -> u64 {
        self.log_synced_to.max(self.synced.log_to)
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SLOT_SIZE);
        out.extend_from_slice(DISPATCH_MAGIC);
        out.extend_from_slice(&FORMAT.to_be_bytes());
        out.extend_from_slice(&OLDEST_READER.to_be_bytes());
        out.extend_from_slice(&self.sequence.to_be_bytes());
        out.push(u8::from(self.is_clean));
        let mut boot_id = [0u8; BOOT_ID_SIZE];
        let text = self.boot_id.as_bytes();
        let size = text.len().min(BOOT_ID_SIZE);
        boot_id[..size].copy_from_slice(&text[..size]);
        out.extend_from_slice(&boot_id);
        self.written.encode(&mut out);
        self.synced.encode(&mut out);
        debug_assert!(out.len() == 8 + 4 + 4 + 8 + 1 + BOOT_ID_SIZE + 2 * POINT_SIZE);
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_be_bytes());
        // Later than the rest, and behind its checksum: older versions read that and no further.
        for later in [self.log_synced_to, self.segment_size] {
            out.extend_from_slice(&later.to_be_bytes());
            out.extend_from_slice(&crc32fast::hash(&later.to_be_bytes()).to_be_bytes());
        }
        out.resize(SLOT_SIZE, 0);
        out
    }

    fn decode(slot: &[u8], path: &Path) -> Result<Option<Marker>> {
        let mut from = Reader { rest: slot };
        if !check_head(&mut from, DISPATCH_MAGIC, path)? {
            return Ok(None);
        }
        Ok(Marker::decode_rest(&mut from, slot))
    }

    fn decode_rest(from: &mut Reader<'_>, slot: &[u8]) -> Option<Marker> {
        let sequence = from.u64()?;
        let is_clean = from.take(1)?[0] == 1;
        let boot_id = from.take(BOOT_ID_SIZE)?;
        let boot_id: Vec<u8> = boot_id
            .iter()
            .copied()
            .take_while(|&byte| byte != 0)
            .collect();
        let written = Point::decode(from)?;
        let synced = Point::decode(from)?;
        let size = slot.len() - from.rest.len();
        if from.u32()? != crc32fast::hash(&slot[..size]) && !mutant!("marker_unchecked") {
            return None;
        }
        let boot_id = String::from_utf8(boot_id).ok()?;
        let mut later = || {
            let number = from.u64()?;
            let is_whole = from.u32()? == crc32fast::hash(&number.to_be_bytes());
            Some(if is_whole { number } else { 0 })
        };
        Some(Marker {
            sequence,
            is_clean,
            boot_id,
            written,
            synced,
            log_synced_to: later()?,
            segment_size: later()?,
        })
    }

    pub fn path(root: &Path) -> PathBuf {
        root.join("pyromq").join("dispatch")
    }

    pub fn read(disk: &dyn Disk, root: &Path) -> Result<Option<Marker>> {
        let path = Marker::path(root);
        let Some(content) = read_file(disk, &path, 2 * SLOT_SIZE)? else {
            return Ok(None);
        };
        let mut newest: Option<Marker> = None;
        for slot in content.chunks(SLOT_SIZE) {
            if let Some(found) = Marker::decode(slot, &path)? {
                if newest
                    .as_ref()
                    .is_none_or(|known| known.sequence < found.sequence)
                {
                    newest = Some(found);
                }
            }
        }
        Ok(newest)
    }

    /// Writes the next slot; `is_durable` syncs it too.
    pub fn write(&mut self, disk: &dyn Disk, root: &Path, is_durable: bool) -> Result<()> {
        self.sequence += 1;
        let path = Marker::path(root);
        let file = disk
            .create(&path)
            .map_err(|error| failed("create", &path, &error))?;
        let at = (self.sequence % 2) * SLOT_SIZE as u64;
        file.write_at(&self.encode(), at)
            .map_err(|short| failed_at("write", &path, at, &short.source))?;
        if is_durable {
            file.sync_data()
                .map_err(|error| failed("sync", &path, &error))?;
        }
        Ok(())
    }
}

/// One queue as the `queues` file knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownQueue {
    pub topic: String,
    pub id: i32,
    /// One past the last unit its files held.
    pub count: i64,
}

/// A dropped topic: its records before this log position enter no queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DroppedTopic {
    pub topic: String,
    pub log_to: u64,
}

/// What the `queues` file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueuesFile {
    pub queues: Vec<KnownQueue>,
    pub dropped: Vec<DroppedTopic>,
}

impl QueuesFile {
    /// The queues of which places were given.
    pub fn places(&self) -> HashSet<(&str, i32)> {
        let given = self.queues.iter().filter(|queue| queue.count > 0);
        given.map(|queue| (&*queue.topic, queue.id)).collect()
    }

    /// Has no queue end before its floor.
    pub fn raise(&mut self, floors: &[KnownQueue]) {
        if floors.is_empty() {
            return;
        }
        let mut at: HashMap<(String, i32), usize> = HashMap::new();
        for (number, queue) in self.queues.iter().enumerate() {
            at.insert((queue.topic.clone(), queue.id), number);
        }
        for floor in floors {
            match at.get(&(floor.topic.clone(), floor.id)) {
                Some(&number) => {
                    let count = &mut self.queues[number].count;
                    *count = floor.count.max(*count);
                }
                None => self.queues.push(floor.clone()),
            }
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(QUEUES_MAGIC);
        out.extend_from_slice(&FORMAT.to_be_bytes());
        out.extend_from_slice(&OLDEST_READER.to_be_bytes());
        self.encode_rest(&mut out);
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_be_bytes());
        out
    }

    pub(crate) fn encode_rest(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.queues.len() as u32).to_be_bytes());
        for queue in &self.queues {
            out.extend_from_slice(&(queue.topic.len() as u16).to_be_bytes());
            out.extend_from_slice(queue.topic.as_bytes());
            out.extend_from_slice(&queue.id.to_be_bytes());
            out.extend_from_slice(&queue.count.to_be_bytes());
        }
        out.extend_from_slice(&(self.dropped.len() as u32).to_be_bytes());
        for dropped in &self.dropped {
            out.extend_from_slice(&(dropped.topic.len() as u16).to_be_bytes());
            out.extend_from_slice(dropped.topic.as_bytes());
            out.extend_from_slice(&dropped.log_to.to_be_bytes());
        }
    }

    pub(crate) fn decode_rest(from: &mut Reader<'_>) -> Option<QueuesFile> {
        let mut file = QueuesFile::default();
        for _ in 0..from.u32()? {
            let topic = from.text()?;
            let id = from.u32()? as i32;
            let count = from.u64()? as i64;
            file.queues.push(KnownQueue { topic, id, count });
        }
        for _ in 0..from.u32()? {
            let topic = from.text()?;
            let log_to = from.u64()?;
            file.dropped.push(DroppedTopic { topic, log_to });
        }
        Some(file)
    }

    pub fn path(root: &Path) -> PathBuf {
        root.join("pyromq").join("queues")
    }

    pub fn read(disk: &dyn Disk, root: &Path) -> Result<Option<QueuesFile>> {
        let path = QueuesFile::path(root);
        let Some(content) = read_file(disk, &path, QUEUES_SIZE_MAX)? else {
            return Ok(None);
        };
        let Some(body_size) = content.len().checked_sub(4) else {
            return Ok(None);
        };
        let mut from = Reader {
            rest: &content[..body_size],
        };
        if !check_head(&mut from, QUEUES_MAGIC, &path)? {
            return Ok(None);
        }
        let crc = crc32fast::hash(&content[..body_size]);
        if content[body_size..] != crc.to_be_bytes() {
            return Ok(None);
        }
        Ok(QueuesFile::decode_rest(&mut from))
    }

    pub fn write(&self, disk: &dyn Disk, root: &Path) -> Result<()> {
        write_file(disk, &QueuesFile::path(root), &self.encode())
    }
}

/// Whether the file begins as ours do; a newer one that we must not read is an error.
pub(crate) fn check_head(from: &mut Reader<'_>, magic: &[u8], path: &Path) -> Result<bool> {
    if from.take(magic.len()) != Some(magic) {
        return Ok(false);
    }
    let (Some(format), Some(oldest_reader)) = (from.u32(), from.u32()) else {
        return Ok(false);
    };
    if oldest_reader > FORMAT {
        return Err(StoreError::Damaged(format!(
            "{}: written by a newer version (format {format}, readable from version \
             {oldest_reader}); this one reads up to {FORMAT}. Nothing was changed",
            path.display()
        )));
    }
    Ok(true)
}

pub(crate) struct Reader<'a> {
    pub(crate) rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, size: usize) -> Option<&'a [u8]> {
        let (part, rest) = self.rest.split_at_checked(size)?;
        self.rest = rest;
        Some(part)
    }

    fn u32(&mut self) -> Option<u32> {
        let part = self.take(4)?;
        Some(u32::from_be_bytes([part[0], part[1], part[2], part[3]]))
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        Some(u64::from(self.u32()?) << 32 | u64::from(self.u32()?))
    }

    fn text(&mut self) -> Option<String> {
        let size = self.take(2)?;
        let size = usize::from(size[0]) << 8 | usize::from(size[1]);
        String::from_utf8(self.take(size)?.to_vec()).ok()
    }
}

#[cfg(test)]
#[path = "marker_tests.rs"]
mod tests;
