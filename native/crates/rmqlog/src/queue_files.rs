//! The files of consume queues: opened and made, units written to them, cut and removed.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use super::QueueTable;
use crate::disk::{Disk, DiskFile};
use crate::error::{failed, failed_at, Result};
use crate::file_cache::{FileCache, FileKey};
use crate::queue_unit::UNIT_SIZE;
use crate::remove::remove_if_there;

/// Units on their way into one file, which may not be there yet.
pub struct UnitWrite {
    pub queue: u32,
    pub base: i64,
    pub path: PathBuf,
    /// If it is open already.
    pub file: Option<Arc<dyn DiskFile>>,
    pub at: u64,
    pub bytes: Vec<u8>,
    /// One past the last unit once the write is done.
    pub upto: i64,
}

impl UnitWrite {
    /// Opens the file, of `file_size` bytes, or makes it and its directories: then the name is added to
    /// `created`. Takes its time, so nobody else should have to wait for it.
    pub fn open(
        &mut self,
        disk: &dyn Disk,
        file_size: u64,
        created: &mut Vec<PathBuf>,
    ) -> Result<Arc<dyn DiskFile>> {
        if let Some(file) = &self.file {
            return Ok(Arc::clone(file));
        }
        let path = &self.path;
        let file = match disk.open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let dir = path.parent().unwrap_or(path);
                if !disk.exists(dir) {
                    disk.create_dir_all(dir)
                        .map_err(|error| failed("create", dir, &error))?;
                }
                disk.create(path)
                    .map_err(|error| failed("create", path, &error))?
            }
            opened => opened.map_err(|error| failed("open", path, &error))?,
        };
        let size = file
            .len()
            .map_err(|error| failed("look at", path, &error))?;
        if size != file_size {
            file.set_len(file_size)
                .map_err(|error| failed("set the length of", path, &error))?;
            created.push(path.clone());
        }
        self.file = Some(Arc::clone(&file));
        Ok(file)
    }
}

impl QueueTable {
    pub(super) fn open_file(
        &self,
        cache: &mut FileCache,
        number: u32,
        base: i64,
    ) -> Result<Arc<dyn DiskFile>> {
        let key = FileKey::Queue(number, base as u64);
        if let Some(file) = cache.get(key) {
            return Ok(file);
        }
        let path = self.file_path(number, base);
        let file = self
            .disk
            .open(&path)
            .map_err(|error| failed("open", &path, &error))?;
        cache.put(key, Arc::clone(&file));
        Ok(file)
    }

    /// A copy of a queue's first unwritten units: at most `size_max` bytes, and none that come after `upto`.
    /// `None` if there are none. Files are neither opened nor made.
    pub fn write_of(
        &self,
        cache: &mut FileCache,
        number: u32,
        upto: i64,
        size_max: usize,
    ) -> Option<UnitWrite> {
        let queue = self.queue(number);
        let from = queue.persisted;
        let base = self.file_base(from);
        let upto = upto
            .min(queue.count)
            .min(base + self.units_per_file)
            .min(from + (size_max / UNIT_SIZE).max(1) as i64);
        if queue.is_dropped || from >= upto {
            return None;
        }
        let size = (upto - from) as usize * UNIT_SIZE;
        Some(UnitWrite {
            queue: number,
            base,
            path: self.file_path(number, base),
            file: cache.get(FileKey::Queue(number, base as u64)),
            at: (from - base) as u64 * UNIT_SIZE as u64,
            bytes: queue.tail.get(0..size).to_vec(),
            upto,
        })
    }

    /// Takes note of files that were made.
    pub fn were_created(&mut self, paths: Vec<PathBuf>) {
        self.created.extend(paths);
    }

    /// Files made since the last call.
    pub fn take_created(&mut self) -> Vec<PathBuf> {
        std::mem::take(&mut self.created)
    }

    /// The write is in its file: its units leave memory.
    pub fn was_written(&mut self, cache: &mut FileCache, write: &UnitWrite) {
        let queue = &mut self.queues[write.queue as usize];
        if queue.is_dropped || write.upto <= queue.persisted {
            return;
        }
        let size = (write.upto - queue.persisted) as usize * UNIT_SIZE;
        queue.tail.drop_front(size);
        queue.persisted = write.upto;
        self.tails_size -= size;
        if let Some(file) = &write.file {
            let key = FileKey::Queue(write.queue, write.base as u64);
            cache.put(key, Arc::clone(file));
        }
    }

    /// Cuts a queue behind its first `count` units, in memory and in its files.
    pub fn cut(&mut self, cache: &mut FileCache, number: u32, count: i64) -> Result<()> {
        self.clear_files_behind(cache, number, count)?;
        let queue = &mut self.queues[number as usize];
        let kept = ((count - queue.persisted).max(0) as usize * UNIT_SIZE).min(queue.tail.len());
        self.tails_size -= queue.tail.len() - kept;
        queue.tail.truncate(kept);
        queue.persisted = queue.persisted.min(count);
        queue.count = count;
        queue.next = count;
        queue.min = queue.min.min(count);
        Ok(())
    }

    /// Makes everything behind the first `count` units of a queue's files zero; files that would hold
    /// nothing go.
    pub fn clear_files_behind(
        &mut self,
        cache: &mut FileCache,
        number: u32,
        count: i64,
    ) -> Result<()> {
        let dir = self.queue_dir(number);
        let file_size = self.units_per_file as u64 * UNIT_SIZE as u64;
        let keep = count.max(0) as u64 * UNIT_SIZE as u64;
        let entries = self
            .disk
            .list(&dir)
            .map_err(|error| failed("list", &dir, &error))?;
        cache.forget_queue(number);
        // Newest first, as in `remove_files`.
        for entry in entries.iter().rev().filter(|entry| !entry.is_dir) {
            let Some(base) = crate::segment::base_of(&entry.name) else {
                continue;
            };
            let path = dir.join(&entry.name);
            if base >= keep {
                self.disk
                    .remove_file(&path)
                    .map_err(|error| failed("remove", &path, &error))?;
            } else if base + file_size > keep {
                let file = self
                    .disk
                    .open(&path)
                    .map_err(|error| failed("open", &path, &error))?;
                file.zero(keep - base, base + file_size - keep)
                    .map_err(|error| failed_at("clear", &path, keep - base, &error))?;
            }
        }
        Ok(())
    }

    /// Removes all files of a queue and their directory.
    pub fn remove_files(&mut self, cache: &mut FileCache, number: u32) -> Result<()> {
        cache.forget_queue(number);
        let dir = self.queue_dir(number);
        let entries = self
            .disk
            .list(&dir)
            .map_err(|error| failed("list", &dir, &error))?;
        // Newest first: what a crash in between leaves must not look like a queue whose oldest messages
        // have expired.
        let mut entries: Vec<_> = entries.into_iter().rev().collect();
        if mutant!("oldest_queue_file_goes_first") {
            entries.reverse();
        }
        for entry in entries.iter().filter(|entry| !entry.is_dir) {
            let path = dir.join(&entry.name);
            remove_if_there(&*self.disk, &path)?;
        }
        for dir in dir.ancestors().take(2) {
            if self
                .disk
                .list(dir)
                .map_err(|error| failed("list", dir, &error))?
                .is_empty()
                && self.disk.exists(dir)
            {
                self.disk
                    .remove_dir(dir)
                    .map_err(|error| failed("remove", dir, &error))?;
            }
        }
        Ok(())
    }
}
