//! Apache's `checkpoint` file: how far its derived files were safe, by time and log position.
//!
//! 4096 bytes, six big-endian numbers at the front (`StoreCheckpoint`). Apache's recovery starts from
//! it, so it is kept true for the case that Apache opens the directory next. Our own recovery prefers
//! `marker.rs` and uses this file where Apache ran last.

use std::path::Path;

use crate::disk::Disk;
use crate::error::{failed, failed_at, Result, StoreError};

pub const FILE_SIZE: usize = 4096;
/// What we write as `confirmPhyOffset`. Apache sets it to a position when it recovers a log, so any
/// other value says that Apache was here.
pub const CONFIRM_OURS: i64 = -1;

/// The file's numbers, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    pub log_timestamp_ms: i64,
    pub queues_timestamp_ms: i64,
    pub index_timestamp_ms: i64,
    pub master_flushed_offset: i64,
    pub confirm_log_offset: i64,
    /// Log offset of the last record whose queue unit is safe.
    pub queues_log_offset: i64,
}

impl Default for Checkpoint {
    fn default() -> Self {
        Checkpoint {
            log_timestamp_ms: 0,
            queues_timestamp_ms: 0,
            index_timestamp_ms: 0,
            master_flushed_offset: 0,
            confirm_log_offset: CONFIRM_OURS,
            queues_log_offset: 0,
        }
    }
}

impl Checkpoint {
    /// The same, but Apache's broker looks through the log from no later than `begin`, if it comes after a
    /// kill: store time and log offset of the first entry of the index that is in no complete file. It removes
    /// index files that end behind `index_timestamp_ms`, and makes only those entries anew whose records it
    /// looks at (IndexService.load and CommitLog.recoverAbnormally of rocketmq-store 5.5.0).
    pub fn lowered_to(self, begin: Option<(i64, u64)>) -> Checkpoint {
        let Some((time_ms, log_offset)) = begin else {
            return self;
        };
        Checkpoint {
            // Before it: segments whose first records have the same time may begin behind it.
            queues_timestamp_ms: self.queues_timestamp_ms.min(time_ms - 1),
            queues_log_offset: self.queues_log_offset.min(log_offset as i64),
            ..self
        }
    }

    pub fn encode(&self) -> [u8; FILE_SIZE] {
        let mut out = [0u8; FILE_SIZE];
        let numbers = [
            self.log_timestamp_ms,
            self.queues_timestamp_ms,
            self.index_timestamp_ms,
            self.master_flushed_offset,
            self.confirm_log_offset,
            self.queues_log_offset,
        ];
        for (place, number) in out.chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_be_bytes());
        }
        out
    }

    pub fn decode(bytes: &[u8]) -> Option<Checkpoint> {
        let mut numbers = bytes.chunks_exact(8).map(|part| {
            let mut number = [0u8; 8];
            number.copy_from_slice(part);
            i64::from_be_bytes(number)
        });
        Some(Checkpoint {
            log_timestamp_ms: numbers.next()?,
            queues_timestamp_ms: numbers.next()?,
            index_timestamp_ms: numbers.next()?,
            master_flushed_offset: numbers.next()?,
            confirm_log_offset: numbers.next()?,
            queues_log_offset: numbers.next()?,
        })
    }

    /// The file's content, `None` if there is none or it is too short to mean anything.
    pub fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Checkpoint>> {
        if !disk.exists(path) {
            return Ok(None);
        }
        let file = disk
            .open(path)
            .map_err(|error| failed("open", path, &error))?;
        let mut bytes = [0u8; 48];
        let got = file
            .read_at(&mut bytes, 0)
            .map_err(|error| failed("read", path, &error))?;
        Ok(Checkpoint::decode(&bytes[..got]))
    }

    /// Writes the file in place, as Apache does: it is never longer than one page. `is_durable` syncs it.
    pub fn write(&self, disk: &dyn Disk, path: &Path, is_durable: bool) -> Result<()> {
        let file = disk
            .create(path)
            .map_err(|error| failed("create", path, &error))?;
        file.write_at(&self.encode(), 0)
            .map_err(|short| failed_at("write", path, short.written as u64, &short.source))?;
        if is_durable {
            file.sync_data()
                .map_err(|error| failed("sync", path, &error))?;
        }
        Ok(())
    }
}

/// Replaces the file at `path` by one with this content, durably.
pub fn write_file(disk: &dyn Disk, path: &Path, content: &[u8]) -> Result<()> {
    let Some(dir) = path.parent() else {
        return Err(StoreError::Failed(format!(
            "{}: no directory",
            path.display()
        )));
    };
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".new");
    let new = path.with_file_name(name);
    let file = disk
        .create(&new)
        .map_err(|error| failed("create", &new, &error))?;
    file.set_len(0)
        .map_err(|error| failed("empty", &new, &error))?;
    file.write_at(content, 0)
        .map_err(|short| failed_at("write", &new, short.written as u64, &short.source))?;
    if !mutant!("rename_before_sync") {
        file.sync_data()
            .map_err(|error| failed("sync", &new, &error))?;
    }
    disk.rename(&new, path)
        .map_err(|error| failed("rename", &new, &error))?;
    disk.sync_dir(dir)
        .map_err(|error| failed("sync", dir, &error))
}

/// All of a file, `None` if there is none. Files read this way are small; more than `size_max` bytes
/// are not looked at.
pub fn read_file(disk: &dyn Disk, path: &Path, size_max: usize) -> Result<Option<Vec<u8>>> {
    if !disk.exists(path) {
        return Ok(None);
    }
    let file = disk
        .open(path)
        .map_err(|error| failed("open", path, &error))?;
    let size = file
        .len()
        .map_err(|error| failed("look at", path, &error))?;
    let mut content = vec![0u8; (size as usize).min(size_max)];
    let got = file
        .read_at(&mut content, 0)
        .map_err(|error| failed("read", path, &error))?;
    content.truncate(got);
    Ok(Some(content))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_numbers_lie_where_apache_puts_them() {
        let captured = "000001a1fb9cb46e000001a1fb9c84bf000001a1fb9ca407\
                        00000000000000000000000000000000000000000001f1e9";
        let bytes: Vec<u8> = (0..captured.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&captured[at..at + 2], 16).unwrap())
            .collect();
        let checkpoint = Checkpoint::decode(&bytes).unwrap();
        assert_eq!(checkpoint.log_timestamp_ms, 0x1a1_fb9c_b46e);
        assert_eq!(checkpoint.queues_timestamp_ms, 0x1a1_fb9c_84bf);
        assert_eq!(checkpoint.index_timestamp_ms, 0x1a1_fb9c_a407);
        assert_eq!(checkpoint.confirm_log_offset, 0);
        assert_eq!(checkpoint.queues_log_offset, 0x1_f1e9);
        assert_eq!(&checkpoint.encode()[..48], &bytes[..]);
        assert_eq!(checkpoint.encode().len(), 4096);
        assert!(Checkpoint::decode(&bytes[..40]).is_none());
    }
}
