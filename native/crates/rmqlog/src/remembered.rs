//! What our own notes remember of a log at a start: how far it reached, which holes it had, how long its
//! queues were. Reads only.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use crate::checkpoint::{Checkpoint, CONFIRM_OURS};
use crate::damage::{self, Hole};
use crate::disk::Disk;
use crate::error::Result;
use crate::found_queues::FoundQueue;
use crate::log_check::Places;
use crate::marker::{KnownQueue, Marker, QueuesFile};
use crate::scan::{LogFiles, Scanner};

/// Our marker, if Apache was not here since.
fn own_marker(disk: &dyn Disk, root: &Path) -> Result<Option<Marker>> {
    let checkpoint = Checkpoint::read(disk, &root.join("checkpoint"))?;
    let is_ours = checkpoint.is_some_and(|found| found.confirm_log_offset == CONFIRM_OURS);
    Ok(Marker::read(disk, root)?.filter(|_| is_ours))
}

/// The size of the log's segments, if our notes tell: a file that was cut short does not.
pub fn segment_size(disk: &dyn Disk, log: &Path) -> Result<Option<u64>> {
    let marker = match log.parent() {
        Some(root) => own_marker(disk, root)?,
        None => None,
    };
    Ok(marker
        .map(|found| found.segment_size)
        .filter(|&size| size > 0))
}

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
    pub fn read(disk: &Arc<dyn Disk>, root: &Path) -> Result<Memory> {
        let Some(marker) = own_marker(&**disk, root)? else {
            return Ok(Memory::default());
        };
        let mut log_end = marker.vouched_to();
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

/// The queues whose last places were given to records that are not there any more, as far as anybody
/// remembers: by our notes, or by `units` of their files that are not believed. `places` is what units and
/// records still show.
pub fn floors(
    known: &[KnownQueue],
    units: &[(&FoundQueue, i64)],
    places: &Places,
) -> Vec<KnownQueue> {
    let mut floors: BTreeMap<(&str, i32), i64> = BTreeMap::new();
    let notes = known
        .iter()
        .map(|known| (&*known.topic, known.id, known.count));
    let units = units
        .iter()
        .map(|&(queue, count)| (&*queue.topic, queue.id, count));
    for (topic, id, count) in notes.chain(units) {
        if count > places.end(topic, id) {
            let floor = floors.entry((topic, id)).or_default();
            *floor = count.max(*floor);
        }
    }
    let known = |((topic, id), count): ((&str, i32), i64)| KnownQueue {
        topic: topic.to_string(),
        id,
        count,
    };
    floors.into_iter().map(known).collect()
}

/// The note of queues with the floors in it; `None` if it says so already.
pub fn note_of_floors(known: &QueuesFile, floors: &[KnownQueue]) -> Option<QueuesFile> {
    let mut note = known.clone();
    let place = |queue: &KnownQueue| (queue.topic.clone(), queue.id);
    let mut at: HashMap<(String, i32), usize> = HashMap::new();
    for (number, queue) in note.queues.iter().enumerate() {
        at.insert(place(queue), number);
    }
    for floor in floors {
        match at.get(&place(floor)) {
            Some(&number) => {
                let count = &mut note.queues[number].count;
                *count = floor.count.max(*count);
            }
            None => note.queues.push(floor.clone()),
        }
    }
    (note != *known).then_some(note)
}
