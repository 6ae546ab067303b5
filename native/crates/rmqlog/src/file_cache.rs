//! Open descriptors of the many files of a store, and the queue units that readers want next: a bounded
//! number of both, the least recently used goes.

use std::collections::HashMap;
use std::sync::Arc;

use crate::ahead::ReadAhead;
use crate::disk::DiskFile;
use crate::queue_unit::UNIT_SIZE;

/// Files kept open at once besides the log's newest segment.
pub const OPEN_FILES_MAX: usize = 256;

/// Whose file it is, and at which byte of it the file begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKey {
    Segment(u64),
    Queue(u32, u64),
    Index(u64),
    Crc(u64),
}

/// Stretches of units kept: as many readers go on without a call for each read.
pub const STRETCHES_MAX: usize = 64;

/// Units of one queue as its files hold them; those never change there.
struct Stretch {
    queue: u32,
    from: i64,
    bytes: Vec<u8>,
    used: u64,
}

impl Stretch {
    fn end(&self) -> i64 {
        self.from + (self.bytes.len() / UNIT_SIZE) as i64
    }
}

/// A least-recently-used map of open files. Dropping an entry closes the file once its last user has.
#[derive(Default)]
pub struct FileCache {
    files: HashMap<FileKey, (Arc<dyn DiskFile>, u64)>,
    stretches: Vec<Stretch>,
    uses: u64,
    /// How the files are read.
    pub ahead: ReadAhead,
}

impl FileCache {
    pub fn get(&mut self, key: FileKey) -> Option<Arc<dyn DiskFile>> {
        self.uses += 1;
        let (file, used) = self.files.get_mut(&key)?;
        *used = self.uses;
        Some(Arc::clone(file))
    }

    pub fn put(&mut self, key: FileKey, file: Arc<dyn DiskFile>) {
        if self.files.len() >= OPEN_FILES_MAX {
            let oldest = self
                .files
                .iter()
                .min_by_key(|(_, (_, used))| *used)
                .map(|(key, _)| *key);
            if let Some(oldest) = oldest {
                self.files.remove(&oldest);
            }
        }
        self.uses += 1;
        self.files.insert(key, (file, self.uses));
    }

    /// Forgets one file, before it is removed.
    pub fn forget(&mut self, key: FileKey) {
        self.files.remove(&key);
    }

    /// Forgets the index's files: some were removed, and new ones may get their names.
    pub fn forget_index(&mut self) {
        self.files
            .retain(|key, _| !matches!(key, FileKey::Index(_)));
    }

    /// The encoded units from `from` up to `to`, if all of them are at hand.
    pub fn units(&mut self, queue: u32, from: i64, to: i64) -> Option<&[u8]> {
        self.uses += 1;
        let has_them =
            |next: &&mut Stretch| next.queue == queue && next.from <= from && to <= next.end();
        let found = self.stretches.iter_mut().find(has_them)?;
        found.used = self.uses;
        let place = |offset: i64| (offset - found.from) as usize * UNIT_SIZE;
        found.bytes.get(place(from)..place(to))
    }

    /// Keeps units of a queue from `from` on, which its files hold. They take the place of those that their
    /// reader had before.
    pub fn keep_units(&mut self, queue: u32, from: i64, bytes: &[u8]) {
        self.uses += 1;
        let was_before =
            |next: &Stretch| next.queue == queue && (next.from..=next.end()).contains(&from);
        let place = self.stretches.iter().position(was_before).or_else(|| {
            let numbered = self.stretches.iter().enumerate();
            let oldest = numbered.min_by_key(|(_, next)| next.used);
            oldest
                .map(|(place, _)| place)
                .filter(|_| self.stretches.len() >= STRETCHES_MAX)
        });
        let place = place.unwrap_or_else(|| {
            self.stretches.push(Stretch {
                queue,
                from,
                bytes: Vec::new(),
                used: 0,
            });
            self.stretches.len() - 1
        });
        let kept = &mut self.stretches[place];
        (kept.queue, kept.from, kept.used) = (queue, from, self.uses);
        kept.bytes.clear();
        kept.bytes.extend_from_slice(bytes);
    }

    /// Forgets the files of one queue, before they are removed or cut, and what was read of them.
    pub fn forget_queue(&mut self, queue: u32) {
        self.stretches.retain(|next| next.queue != queue);
        self.files
            .retain(|key, _| !matches!(key, FileKey::Queue(number, _) if *number == queue));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::disk::{Disk, RealDisk};

    #[test]
    fn the_least_recently_used_file_goes_first() {
        let path = std::env::temp_dir().join(format!("rmqlog-cache-{}", std::process::id()));
        let file = RealDisk.create(&path).unwrap();
        let mut cache = FileCache::default();
        for number in 0..OPEN_FILES_MAX as u64 {
            cache.put(FileKey::Segment(number), Arc::clone(&file));
        }
        assert!(cache.get(FileKey::Segment(0)).is_some());
        cache.put(FileKey::Queue(1, 0), Arc::clone(&file));
        assert!(cache.get(FileKey::Segment(0)).is_some());
        assert!(cache.get(FileKey::Segment(1)).is_none());
        cache.forget_queue(1);
        assert!(cache.get(FileKey::Queue(1, 0)).is_none());
        RealDisk.remove_file(&path).unwrap();
    }

    /// So many units, each filled with the low byte of its offset.
    fn units(from: i64, count: usize) -> Vec<u8> {
        let number = |offset: usize| [(from as usize + offset) as u8; UNIT_SIZE];
        (0..count).flat_map(number).collect()
    }

    #[test]
    fn units_at_hand_are_those_that_were_kept() {
        let mut cache = FileCache::default();
        assert!(cache.units(1, 10, 12).is_none());
        cache.keep_units(1, 10, &units(10, 5));
        assert_eq!(cache.units(1, 10, 15).unwrap(), units(10, 5));
        assert_eq!(cache.units(1, 12, 14).unwrap(), units(12, 2));
        for (queue, from, to) in [(1, 9, 11), (1, 14, 16), (1, 15, 16), (2, 10, 12)] {
            assert!(
                cache.units(queue, from, to).is_none(),
                "{queue} {from} {to}"
            );
        }
        cache.keep_units(1, 14, &units(14, 5));
        assert_eq!(cache.units(1, 14, 19).unwrap(), units(14, 5));
        assert!(cache.units(1, 10, 12).is_none(), "the reader went on");
        cache.keep_units(2, 14, &units(0, 5));
        cache.forget_queue(1);
        assert!(cache.units(1, 14, 19).is_none());
        assert_eq!(cache.units(2, 14, 19).unwrap(), units(0, 5));
    }

    #[test]
    fn the_least_recently_used_units_go_first() {
        let mut cache = FileCache::default();
        for queue in 0..STRETCHES_MAX as u32 {
            cache.keep_units(queue, 0, &units(0, 3));
        }
        assert!(cache.units(0, 0, 3).is_some());
        cache.keep_units(1000, 0, &units(7, 3));
        assert_eq!(cache.units(1000, 0, 3).unwrap(), units(7, 3));
        assert!(cache.units(0, 0, 3).is_some());
        assert!(cache.units(1, 0, 3).is_none());
    }
}
