//! Damage as the store knows it: holes found by starts, records found bad by reads.
//!
//! A hole is a range of the log in which nothing valid is, though there was once something: valid records
//! follow, or a sync had vouched for it. Holes are noted in `<root>/pyromq/holes`, because a start after a
//! clean stop does not look through the log. The note is extra: missing or torn means that a hole is known
//! again once a start or a read comes by it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::checkpoint::{read_file, write_file};
use crate::disk::Disk;
use crate::error::{failed, Result};
use crate::marker::{check_head, Reader, FORMAT, OLDEST_READER};

const MAGIC: &[u8; 8] = b"PYROMQ-H";
const NOTE_SIZE_MAX: usize = 64 << 20;
/// Bad records remembered one by one; later ones are only counted.
const RECORDS_MAX: usize = 1 << 20;
/// Sentences kept until somebody takes them.
const NEWS_MAX: usize = 1000;

/// A range of the log without anything valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hole {
    pub from: u64,
    pub to: u64,
}

/// Joins holes that touch or overlap, in log order.
pub fn merged(mut holes: Vec<Hole>) -> Vec<Hole> {
    holes.retain(|hole| hole.from < hole.to);
    holes.sort_unstable();
    let mut out: Vec<Hole> = Vec::with_capacity(holes.len());
    for hole in holes {
        match out.last_mut() {
            Some(last) if hole.from <= last.to => last.to = last.to.max(hole.to),
            _ => out.push(hole),
        }
    }
    out
}

/// The hole `log_offset` is in.
pub fn hole_at(holes: &[Hole], log_offset: u64) -> Option<Hole> {
    let next = holes.partition_point(|hole| hole.to <= log_offset);
    let hole = holes.get(next).copied();
    hole.filter(|hole| hole.from <= log_offset)
}

pub fn note_path(root: &Path) -> PathBuf {
    root.join("pyromq").join("holes")
}

/// The holes a start noted; none if there is no such note or it cannot be believed.
pub fn read_note(disk: &dyn Disk, root: &Path) -> Result<Vec<Hole>> {
    let path = note_path(root);
    let Some(content) = read_file(disk, &path, NOTE_SIZE_MAX)? else {
        return Ok(Vec::new());
    };
    let Some(body_size) = content.len().checked_sub(4) else {
        return Ok(Vec::new());
    };
    let (body, crc) = content.split_at(body_size);
    let mut from = Reader { rest: body };
    if !check_head(&mut from, MAGIC, &path)? || crc != crc32fast::hash(body).to_be_bytes() {
        return Ok(Vec::new());
    }
    let mut holes = Vec::new();
    while let (Some(start), Some(end)) = (from.u64(), from.u64()) {
        holes.push(Hole {
            from: start,
            to: end,
        });
    }
    Ok(merged(holes))
}

/// Notes the holes, durably. Without any the note goes.
pub fn write_note(disk: &dyn Disk, root: &Path, holes: &[Hole]) -> Result<()> {
    let path = note_path(root);
    if holes.is_empty() {
        if disk.exists(&path) {
            disk.remove_file(&path)
                .map_err(|error| failed("remove", &path, &error))?;
        }
        return Ok(());
    }
    let mut out = Vec::new();
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&FORMAT.to_be_bytes());
    out.extend_from_slice(&OLDEST_READER.to_be_bytes());
    for hole in holes {
        out.extend_from_slice(&hole.from.to_be_bytes());
        out.extend_from_slice(&hole.to.to_be_bytes());
    }
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_be_bytes());
    write_file(disk, &path, &out)
}

/// What an open store knows of its damage.
#[derive(Debug, Default)]
pub struct Damage {
    holes: Vec<Hole>,
    /// Where bad records begin that reads came by, those in holes excepted.
    records: BTreeSet<u64>,
    /// Queue units that point nowhere: number of the queue, queue offset.
    units: BTreeSet<(u32, i64)>,
    news: Vec<String>,
}

impl Damage {
    pub fn new(holes: Vec<Hole>) -> Damage {
        Damage {
            holes,
            ..Damage::default()
        }
    }

    pub fn holes(&self) -> &[Hole] {
        &self.holes
    }

    /// Places known to be bad: holes, whatever was in them, bad records outside of them, and queue units
    /// that point nowhere.
    pub fn count(&self) -> u64 {
        (self.holes.len() + self.records.len() + self.units.len()) as u64
    }

    /// Notes a hole found later than at the start, and tells of it.
    pub fn found_hole(&mut self, hole: Hole, text: impl FnOnce() -> String) {
        self.holes.push(hole);
        self.holes = merged(std::mem::take(&mut self.holes));
        self.tell(text);
    }

    pub fn is_in_hole(&self, log_offset: u64) -> bool {
        hole_at(&self.holes, log_offset).is_some()
    }

    /// Notes a bad record a read came by; `text` tells of it the first time.
    pub fn found(&mut self, log_offset: u64, text: impl FnOnce() -> String) {
        if self.is_in_hole(log_offset)
            || self.records.len() >= RECORDS_MAX
            || !self.records.insert(log_offset)
        {
            return;
        }
        self.tell(text);
    }

    /// Notes a queue unit that points to no place in the log.
    pub fn found_unit(&mut self, queue: u32, queue_offset: i64, text: impl FnOnce() -> String) {
        if self.units.len() < RECORDS_MAX && self.units.insert((queue, queue_offset)) {
            self.tell(text);
        }
    }

    /// Keeps a sentence for whoever asks for news.
    pub fn tell(&mut self, text: impl FnOnce() -> String) {
        if self.news.len() < NEWS_MAX {
            self.news.push(text());
        }
    }

    /// Forgets what lies before the log's first position.
    pub fn forget_before(&mut self, log_min: u64) {
        self.holes.retain(|hole| hole.to > log_min);
        self.records = self.records.split_off(&log_min);
    }

    /// What was found since the last call, a sentence each.
    pub fn take_news(&mut self) -> Vec<String> {
        std::mem::take(&mut self.news)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn holes_that_touch_become_one() {
        let hole = |from, to| Hole { from, to };
        let found = merged(vec![
            hole(7, 9),
            hole(0, 3),
            hole(3, 5),
            hole(8, 8),
            hole(8, 12),
        ]);
        assert_eq!(found, [hole(0, 5), hole(7, 12)]);
        let damage = Damage::new(found);
        for (at, is_in) in [
            (0, true),
            (4, true),
            (5, false),
            (6, false),
            (7, true),
            (11, true),
            (12, false),
        ] {
            assert_eq!(damage.is_in_hole(at), is_in, "{at}");
        }
    }

    #[test]
    fn a_bad_record_is_told_once() {
        let mut damage = Damage::new(vec![Hole { from: 100, to: 200 }]);
        for at in [50, 150, 50, 300] {
            damage.found(at, || format!("at {at}"));
        }
        assert_eq!(damage.take_news(), ["at 50", "at 300"]);
        assert_eq!(damage.take_news(), [] as [String; 0]);
        assert_eq!(damage.count(), 3);
        damage.forget_before(250);
        assert_eq!(damage.count(), 1);
    }

    #[test]
    fn the_note_is_read_back_and_a_torn_one_is_not_believed() {
        let root = std::env::temp_dir().join(format!("rmqlog-holes-{}", std::process::id()));
        std::fs::create_dir_all(root.join("pyromq")).unwrap();
        let holes = vec![Hole { from: 1, to: 2 }, Hole { from: 5, to: 900 }];
        write_note(&RealDisk, &root, &holes).unwrap();
        assert_eq!(read_note(&RealDisk, &root).unwrap(), holes);
        let mut content = std::fs::read(note_path(&root)).unwrap();
        content[20] ^= 1;
        std::fs::write(note_path(&root), content).unwrap();
        assert_eq!(read_note(&RealDisk, &root).unwrap(), []);
        write_note(&RealDisk, &root, &[]).unwrap();
        assert!(!note_path(&root).exists());
        std::fs::remove_dir_all(&root).unwrap();
    }
}
