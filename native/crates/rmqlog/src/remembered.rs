//! What our own notes remember of a log at a start: how far it reached, which holes it had, how long its
//! queues were. Reads only.

use std::path::Path;
use std::sync::Arc;

use crate::checkpoint::{Checkpoint, CONFIRM_OURS};
use crate::damage::{self, Hole};
use crate::disk::Disk;
use crate::error::Result;
use crate::found_queues::FoundQueue;
use crate::marker::{KnownQueue, Marker};
use crate::scan::{LogFiles, Scanner};

/// What our own notes say of a log, if Apache was not here since.
#[derive(Default)]
pub struct Memory {
    /// The log reached to here once: a sync, or the same run of the machine, vouches for it.
    pub log_end: u64,
    pub holes: Vec<Hole>,
    /// The same, also after some were taken out of `holes`.
    pub noted: Vec<Hole>,
}

impl Memory {
    pub fn read(disk: &Arc<dyn Disk>, root: &Path, marker: Option<&Marker>) -> Result<Memory> {
        let checkpoint = Checkpoint::read(&**disk, &root.join("checkpoint"))?;
        let is_ours = checkpoint.is_some_and(|found| found.confirm_log_offset == CONFIRM_OURS);
        let Some(marker) = marker.filter(|_| is_ours) else {
            return Ok(Memory::default());
        };
        let mut log_end = marker.synced.log_to;
        if disk
            .boot_id()
            .is_some_and(|boot_id| boot_id == marker.boot_id)
        {
            log_end = log_end.max(marker.written.log_to);
        }
        let holes = damage::read_note(&**disk, root)?;
        Ok(Memory {
            log_end,
            noted: holes.clone(),
            holes,
        })
    }

    /// Takes out holes that are gone from the log, or mended.
    pub fn forget_healed(&mut self, files: &LogFiles) -> Result<()> {
        let mut kept = Vec::new();
        for &hole in self.holes.iter().filter(|hole| hole.to > files.min) {
            let doubted = [hole];
            let from = hole.from.max(files.min);
            let mut scanner = Scanner::over_holes(files, from, hole.to, &doubted, from);
            let end = loop {
                if let Err(end) = scanner.next_record()? {
                    break end;
                }
            };
            if end.log_offset < hole.to || !scanner.take_holes().is_empty() {
                kept.push(hole);
            }
        }
        if let Some(last) = kept.last() {
            self.log_end = self.log_end.max(last.to);
        }
        self.noted.clone_from(&kept);
        self.holes = kept;
        Ok(())
    }

    pub fn knows(&self, hole: Hole) -> bool {
        self.noted
            .iter()
            .any(|known| known.from <= hole.from && hole.to <= known.to)
    }
}

pub fn round_up(log_offset: u64, segment_size: u64) -> u64 {
    log_offset.next_multiple_of(segment_size)
}

pub fn told(files: &LogFiles, hole: Hole, reason: &str) -> String {
    format!(
        "{}: byte {}: {reason}: {} bytes up to log position {} are passed over, nothing was cut",
        files.path_of(hole.from).display(),
        hole.from - files.base_of(hole.from),
        hole.to - hole.from,
        hole.to
    )
}

/// Up to where places of each queue were given, as far as anybody remembers.
pub fn floors(queues: &[FoundQueue], known: &[KnownQueue]) -> Vec<KnownQueue> {
    let mut floors: Vec<KnownQueue> = known.to_vec();
    for queue in queues.iter().filter(|queue| queue.seen > 0) {
        let same = floors
            .iter_mut()
            .find(|floor| floor.topic == queue.topic && floor.id == queue.id);
        match same {
            Some(floor) => floor.count = floor.count.max(queue.seen),
            None => floors.push(KnownQueue {
                topic: queue.topic.clone(),
                id: queue.id,
                count: queue.seen,
            }),
        }
    }
    floors
}
