//! Open descriptors of the many files of a store: a bounded number, the least recently used goes.

use std::collections::HashMap;
use std::sync::Arc;

use crate::disk::DiskFile;

/// Files kept open at once besides the log's newest segment.
pub const OPEN_FILES_MAX: usize = 256;

/// Whose file it is, and at which byte of it the file begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKey {
    Segment(u64),
    Queue(u32, u64),
    Index(u64),
}

/// A least-recently-used map of open files. Dropping an entry closes the file once its last user has.
#[derive(Default)]
pub struct FileCache {
    files: HashMap<FileKey, (Arc<dyn DiskFile>, u64)>,
    uses: u64,
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

    /// Forgets the files of one queue, before they are removed.
    pub fn forget_queue(&mut self, queue: u32) {
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
}
