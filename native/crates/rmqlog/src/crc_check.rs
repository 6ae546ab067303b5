//! Checking the checksums of whole records, and making them anew, for `pyromq store`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::check::{finding, Finding, LogWalk, Region, SegmentFile, Sink};
use crate::crc_file::{
    count_of, digest, dir_of, encode_all, encode_head, list, read_seal, record_crc, CrcReader,
    Entry, Seal, Sealed, BLOCK_COUNT, ENTRY_SIZE, HEAD_SIZE,
};
use crate::crc_log::seal;
use crate::disk::{Disk, DiskFile};
use crate::error::{failed, failed_at, Result};
use crate::record::Record;
use crate::segment::file_name;

/// What is wrong with the files themselves; `unguarded` records have no entry that can be believed.
pub fn check(
    disk: &dyn Disk,
    root: &Path,
    segments: &[SegmentFile],
    unguarded: u64,
) -> Result<Vec<Finding>> {
    let dir = dir_of(root);
    let mut findings = Vec::new();
    if !disk.exists(&dir) {
        return Ok(findings); // Apache's store, or one of an older version
    }
    let mut previous: Option<(u64, Seal)> = None;
    for (base, len) in list(disk, &dir) {
        let path = dir.join(file_name(base));
        if !segments.iter().any(|segment| segment.base == base) {
            findings.push(finding(
                "crc-stray",
                path,
                0,
                len,
                "no segment of this name",
            ));
            continue;
        }
        let file = disk
            .open(&path)
            .map_err(|error| failed("open", &path, &error))?;
        let damaged =
            damaged_entries(&*file, base, len).map_err(|error| failed("read", &path, &error))?;
        if let Some((first, count)) = damaged {
            let mut found = finding(
                "crc-damaged",
                path.clone(),
                first,
                count * ENTRY_SIZE as u64,
                "entries whose own check differs",
            );
            found.count = count;
            findings.push(found);
        }
        let known = match read_seal(disk, &path)? {
            Sealed::As(known) => known,
            Sealed::No => continue,
            Sealed::Damaged => {
                let what = "the seal is damaged";
                findings.push(finding("crc-digest", path, 0, 0, what));
                continue;
            }
        };
        if damaged.is_none() {
            let now = digest(&*file, base, known.count, &known.previous)
                .map_err(|error| failed("read", &path, &error))?;
            if known.count != count_of(len) || now != Some(known.digest) {
                let what = "not the entries that were sealed";
                findings.push(finding("crc-digest", path.clone(), 0, 0, what));
            } else if let Some((before, seal)) = previous {
                let is_chained = known.previous == [0; 32] || known.previous == seal.digest;
                if !is_chained && !mutant!("digest_chain_unchecked") {
                    let path = dir.join(file_name(before));
                    let what = "not the file that the next one was chained to";
                    findings.push(finding("crc-digest", path, 0, 0, what));
                }
            }
        }
        previous = Some((base, known));
    }
    if unguarded > 0 {
        let what = "records of which only the body has a checksum";
        let mut found = finding("crc-missing", dir, 0, 0, what);
        found.count = unguarded;
        findings.push(found);
    }
    Ok(findings)
}

/// The first byte of the first damaged entry, and how many there are.
fn damaged_entries(
    file: &dyn DiskFile,
    base: u64,
    len: u64,
) -> std::io::Result<Option<(u64, u64)>> {
    let mut bytes = vec![0u8; BLOCK_COUNT * ENTRY_SIZE];
    let mut at = HEAD_SIZE;
    let mut found: Option<(u64, u64)> = None;
    while at < len {
        let want = bytes.len().min((len - at) as usize);
        let got = file.read_at(&mut bytes[..want], at)?;
        for (number, part) in bytes[..got].chunks(ENTRY_SIZE).enumerate() {
            if Entry::decode(part, base).is_none() {
                let place = at + (number * ENTRY_SIZE) as u64;
                found = Some(found.map_or((place, 1), |(first, count)| (first, count + 1)));
            }
        }
        if got < want {
            break;
        }
        at += got as u64;
    }
    Ok(found)
}

/// Collects the entries of one segment after the other.
struct Rebuild {
    disk: Arc<dyn Disk>,
    into: PathBuf,
    known: CrcReader,
    segment_size: u64,
    base: u64,
    entries: Vec<Entry>,
    count: u64,
}

impl Sink for Rebuild {
    fn record(&mut self, bytes: &[u8], record: &Record<'_>, _: &[Region]) -> Result<()> {
        let base = record.log_offset - record.log_offset % self.segment_size;
        if base != self.base {
            self.write()?;
            self.base = base;
        }
        self.entries.push(Entry {
            at: (record.log_offset - base) as u32,
            crc: record_crc(bytes),
        });
        Ok(())
    }
}

impl Rebuild {
    /// Writes the segment's file. What was noted of bad records stays: it says that they are bad.
    fn write(&mut self) -> Result<()> {
        let base = self.base;
        let mut entries = std::mem::take(&mut self.entries);
        entries.extend(self.known.entries(base));
        entries.sort_by_key(|entry| entry.at);
        entries.dedup_by_key(|entry| entry.at);
        if entries.is_empty() {
            return Ok(());
        }
        self.count += entries.len() as u64;
        let mut bytes = encode_head(base);
        bytes.resize(HEAD_SIZE as usize, 0);
        encode_all(&entries, base, &mut bytes);
        let path = self.into.join(file_name(base));
        let file = self
            .disk
            .create(&path)
            .map_err(|error| failed("create", &path, &error))?;
        file.set_len(0)
            .map_err(|error| failed("empty", &path, &error))?;
        file.write_at(&bytes, 0)
            .map_err(|short| failed_at("write", &path, short.written as u64, &short.source))
    }
}

/// Makes the checksums of every record that passes what can be checked, in the directory `into`, durably.
/// Answers how many there are. The old ones stay where they are, and are asked first.
pub fn rebuild(disk: Arc<dyn Disk>, root: &Path, segment_size: u64, into: &Path) -> Result<u64> {
    let mut walk = LogWalk::new(Arc::clone(&disk), root.join("commitlog"), segment_size)?;
    disk.create_dir_all(into)
        .map_err(|error| failed("create", into, &error))?;
    let segment_size = walk.segment_size;
    let bases: Vec<u64> = walk.segments.iter().map(|segment| segment.base).collect();
    let mut made = Rebuild {
        known: walk.crc_reader()?,
        disk: Arc::clone(&disk),
        into: into.to_path_buf(),
        segment_size,
        base: walk.min,
        entries: Vec::new(),
        count: 0,
    };
    while !walk.is_at_end() {
        walk.step(u64::MAX >> 1, &mut made)?;
    }
    made.write()?;
    for &base in &bases {
        let path = into.join(file_name(base));
        if !disk.exists(&path) {
            continue;
        }
        if base < bases.last().copied().unwrap_or(0) {
            seal(&*disk, into, base, segment_size);
        }
        disk.open(&path)
            .and_then(|file| file.sync_data())
            .map_err(|error| failed("sync", &path, &error))?;
    }
    disk.sync_dir(into)
        .map_err(|error| failed("sync", into, &error))?;
    Ok(made.count)
}
