//! `<root>/pyromq/rebuild`: the queues whose files must not be believed, because a rebuild of them has not
//! come to its end.

use std::path::{Path, PathBuf};

use crate::checkpoint::{read_file, write_file};
use crate::consume_queue::QueueTable;
use crate::disk::Disk;
use crate::error::{failed, Result};
use crate::marker::{check_head, KnownQueue, QueuesFile, Reader, FORMAT, OLDEST_READER};
use crate::remove::remove_if_there;

const MAGIC: &[u8; 8] = b"PYROMQ-R";
const NOTE_SIZE_MAX: usize = 256 << 20;

/// Where the names of queues stand that a rebuild makes anew.
pub fn note_path(root: &Path) -> PathBuf {
    root.join("pyromq").join("rebuild")
}

/// Queues whose files must not be believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RebuildNote {
    /// None of any queue.
    pub is_whole: bool,
    /// With the places that were given.
    pub queues: Vec<KnownQueue>,
}

impl RebuildNote {
    /// The note an earlier start left, if it did not come to its end. One that cannot be read means all
    /// queues.
    pub fn read(disk: &dyn Disk, root: &Path) -> Result<Option<RebuildNote>> {
        let path = note_path(root);
        let Some(content) = read_file(disk, &path, NOTE_SIZE_MAX)? else {
            return Ok(None);
        };
        let whole = RebuildNote {
            is_whole: true,
            queues: Vec::new(),
        };
        let Some((body, crc)) = content
            .len()
            .checked_sub(4)
            .map(|size| content.split_at(size))
        else {
            return Ok(Some(whole));
        };
        let mut from = Reader { rest: body };
        if !check_head(&mut from, MAGIC, &path)? || crc != crc32fast::hash(body).to_be_bytes() {
            return Ok(Some(whole));
        }
        let found = from.u64().and_then(|is_whole| {
            let queues = QueuesFile::decode_rest(&mut from)?.queues;
            Some(RebuildNote {
                is_whole: is_whole != 0,
                queues,
            })
        });
        Ok(Some(found.unwrap_or(whole)))
    }

    pub fn write(&self, disk: &dyn Disk, root: &Path) -> Result<()> {
        let mut out = Vec::new();
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&FORMAT.to_be_bytes());
        out.extend_from_slice(&OLDEST_READER.to_be_bytes());
        out.extend_from_slice(&u64::from(self.is_whole).to_be_bytes());
        let queues = QueuesFile {
            queues: self.queues.clone(),
            dropped: Vec::new(),
        };
        queues.encode_rest(&mut out);
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_be_bytes());
        write_file(disk, &note_path(root), &out)
    }
}

/// Adds the queues to the note that nobody knew of before a rebuild came by their messages. The marker calls
/// all others safe: without it a kill would leave a store that does not look for those.
pub fn note_found(disk: &dyn Disk, root: &Path, queues: &QueueTable) -> Result<()> {
    let Some(mut note) = RebuildNote::read(disk, root)?.filter(|note| !note.is_whole) else {
        return Ok(());
    };
    let waiting = queues
        .numbers()
        .into_iter()
        .map(|number| queues.queue(number));
    let found: Vec<KnownQueue> = waiting
        .filter(|queue| queue.is_rebuilding)
        .map(|queue| KnownQueue {
            topic: queue.topic.to_string(),
            id: queue.id,
            count: 0,
        })
        .collect();
    let mut named = QueuesFile {
        queues: note.queues,
        ..QueuesFile::default()
    };
    named.raise(&found);
    note.queues = named.queues;
    note.write(disk, root)
}

/// Forgets the places of a topic that is dropped while its queues may still be rebuilt. The names stay: what
/// is left of their files is not to be believed. Call it when the note of queues has the drop, durably; from
/// the topic's next life on that note alone does not tell a place given before from one given since.
pub fn note_dropped(disk: &dyn Disk, root: &Path, topic: &str) -> Result<()> {
    let Some(mut note) = RebuildNote::read(disk, root)? else {
        return Ok(());
    };
    let named = note.queues.iter_mut().filter(|queue| queue.topic == topic);
    let given: Vec<&mut KnownQueue> = named.filter(|queue| queue.count > 0).collect();
    if given.is_empty() {
        return Ok(());
    }
    given.into_iter().for_each(|queue| queue.count = 0);
    note.write(disk, root)
}

/// Removes the note, durably.
pub fn remove_note(disk: &dyn Disk, root: &Path) -> Result<()> {
    let path = note_path(root);
    if !disk.exists(&path) {
        return Ok(());
    }
    remove_if_there(disk, &path)?;
    let dir = root.join("pyromq");
    disk.sync_dir(&dir)
        .map_err(|error| failed("sync", &dir, &error))
}
