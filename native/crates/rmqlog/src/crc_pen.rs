//! The pen that writes checksums of whole records, and what it is given to write; see `crc_log.rs`.

use std::path::PathBuf;
use std::sync::Arc;

use crate::crc_file::{count_of, encode_all, encode_head, Entry, ENTRY_SIZE, HEAD_SIZE};
use crate::disk::{Disk, DiskFile};
use crate::error::{failed, is_full};
use crate::segment::file_name;

/// A record that has no entry in a file yet: its log position and its checksum.
pub type Record = (u64, u32);

/// The file that is written to.
struct Current {
    base: u64,
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    count: u64,
}

/// Entries that are in a file now.
pub struct Appended {
    pub base: u64,
    pub path: PathBuf,
    pub file: Arc<dyn DiskFile>,
    pub entries: Vec<Entry>,
    /// How many the file holds now.
    pub count: u64,
}

/// What came of writing.
#[derive(Default)]
pub struct Written {
    pub appended: Vec<Appended>,
    pub created: Vec<PathBuf>,
    pub full: Vec<u64>,
    pub news: Option<String>,
}

/// Writes entries: only its holder touches the newest files.
pub struct CrcPen {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    segment_size: u64,
    current: Option<Current>,
    pub has_failed: bool,
    pub written: Written,
}

/// Entries to be written, and the pen to do it with. It goes back by [`CrcLog::wrote`].
pub struct CrcWork {
    pub(crate) pen: Box<CrcPen>,
    pub(crate) records: Vec<Record>,
    /// How many of them have entries in a file now.
    pub(crate) done: usize,
}

impl CrcWork {
    /// Writes the entries; the records are in the log's files. A disk that fails costs the entries, never
    /// a message.
    pub fn write(&mut self) {
        self.done = self.pen.write_all(&self.records);
    }
}

impl CrcPen {
    pub fn new(disk: Arc<dyn Disk>, dir: PathBuf, segment_size: u64) -> CrcPen {
        CrcPen {
            disk,
            dir,
            segment_size,
            current: None,
            has_failed: false,
            written: Written::default(),
        }
    }

    /// Answers how many of the records have entries now.
    fn write_all(&mut self, records: &[Record]) -> usize {
        let mut done = 0;
        while let Some(&(log_offset, _)) = records.get(done) {
            let base = log_offset - log_offset % self.segment_size;
            let behind = base + self.segment_size;
            let size = records[done..].partition_point(|&(at, _)| at < behind);
            if let Err(error) = self.write_some(base, &records[done..done + size]) {
                if !is_full(&error) {
                    let path = self.dir.join(file_name(base));
                    let text = failed("write", &path, &error);
                    self.written.news = Some(format!(
                        "{text}: no more checksums of whole records are written"
                    ));
                    self.has_failed = true;
                }
                return done;
            }
            done += size;
        }
        done
    }

    fn write_some(&mut self, base: u64, records: &[Record]) -> std::io::Result<()> {
        let entry = |&(log_offset, crc): &Record| Entry {
            at: (log_offset - base) as u32,
            crc,
        };
        let entries: Vec<Entry> = records.iter().map(entry).collect();
        let mut bytes = Vec::with_capacity(entries.len() * ENTRY_SIZE);
        encode_all(&entries, base, &mut bytes);
        self.take(base)?;
        let Some(current) = &mut self.current else {
            return Ok(());
        };
        current
            .file
            .write_at(&bytes, HEAD_SIZE + current.count * ENTRY_SIZE as u64)
            .map_err(|short| short.source)?;
        current.count += entries.len() as u64;
        self.written.appended.push(Appended {
            base,
            path: current.path.clone(),
            file: Arc::clone(&current.file),
            entries,
            count: current.count,
        });
        Ok(())
    }

    /// Makes the file of `base` the one that is written to.
    fn take(&mut self, base: u64) -> std::io::Result<()> {
        let is_current = |known: &Current| known.base == base;
        if self.current.as_ref().is_some_and(is_current) {
            return Ok(());
        }
        let path = self.dir.join(file_name(base));
        if !self.disk.exists(&self.dir) {
            self.disk.create_dir_all(&self.dir)?;
        }
        let is_new = !self.disk.exists(&path);
        let file = self.disk.create(&path)?;
        if is_new {
            self.written.created.push(path.clone());
        }
        let count = count_of(file.len()?);
        if count == 0 {
            file.write_at(&encode_head(base), 0)
                .map_err(|short| short.source)?;
        }
        let current = Current {
            base,
            file,
            path,
            count,
        };
        if let Some(last) = self.current.replace(current) {
            self.written.full.push(last.base);
        }
        Ok(())
    }
}
