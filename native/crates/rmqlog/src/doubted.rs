//! Which queues a start does not believe, where we were the last to stop: they are rebuilt from the log
//! while the store is in use (`rebuilder.rs`). Reads only.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::disk::Disk;
use crate::error::Result;
use crate::found_queues::{last_place, FoundQueue};
use crate::marker::{KnownQueue, QueuesFile};
use crate::rebuild_note::RebuildNote;
use crate::recover::Dropped;

/// Calls the queues broken that an earlier start did not come to rebuild to their end.
pub fn refuse_unfinished(queues: &mut [FoundQueue], note: &RebuildNote) {
    let named: HashSet<(&str, i32)> = note
        .queues
        .iter()
        .map(|queue| (&*queue.topic, queue.id))
        .collect();
    for queue in queues {
        if note.is_whole || named.contains(&(&*queue.topic, queue.id)) {
            queue.refuse_if(true);
        }
    }
}

/// What the note of an unfinished rebuild still says of places. Its queues may be of a topic that was dropped
/// since, by a process that ended before it could change this note too: no place of theirs is given then, and
/// the note of queues has none.
pub fn named_now(named: &[KnownQueue], known: &QueuesFile, dropped: &Dropped) -> Vec<KnownQueue> {
    let given = known.places();
    let now = |queue: &KnownQueue| {
        let is_gone =
            dropped.has_topic(&queue.topic) && !given.contains(&(&*queue.topic, queue.id));
        KnownQueue {
            count: if is_gone { 0 } else { queue.count },
            ..queue.clone()
        }
    };
    named.iter().map(now).collect()
}

/// Queues that must be rebuilt from the log's beginning: they are broken, missing, or shorter than they
/// once were. With the places that were given, as far as our notes and their files know.
pub fn lacking(
    disk: &Arc<dyn Disk>,
    queues: &[FoundQueue],
    file_size: u64,
    known: &QueuesFile,
    dropped: &Dropped,
    notes: &mut Vec<String>,
) -> Result<Vec<KnownQueue>> {
    let mut lacking = told_lacking(queues, known, notes);
    let broken = queues.iter().filter(|queue| queue.is_broken);
    lacking.raise(&seen_of(disk, broken, file_size, dropped)?);
    Ok(lacking.queues)
}

/// All queues that anybody knows of, with the places that were given.
pub fn all_of(
    disk: &Arc<dyn Disk>,
    queues: &[FoundQueue],
    file_size: u64,
    known: &QueuesFile,
    dropped: &Dropped,
) -> Result<Vec<KnownQueue>> {
    let mut all = QueuesFile {
        queues: known.queues.clone(),
        ..QueuesFile::default()
    };
    all.raise(&seen_of(disk, queues.iter(), file_size, dropped)?);
    Ok(all.queues)
}

/// The queues with those made to look complete that are rebuilt anyway.
pub fn without(queues: &[FoundQueue], waiting: &[KnownQueue]) -> Vec<FoundQueue> {
    let gone: HashSet<(&str, i32)> = waiting
        .iter()
        .map(|queue| (&*queue.topic, queue.id))
        .collect();
    let mut judged: Vec<FoundQueue> = queues
        .iter()
        .filter(|queue| !gone.contains(&(&*queue.topic, queue.id)))
        .cloned()
        .collect();
    judged.extend(waiting.iter().map(FoundQueue::complete));
    judged
}

fn told_lacking(queues: &[FoundQueue], known: &QueuesFile, notes: &mut Vec<String>) -> QueuesFile {
    let broken = queues.iter().filter(|queue| queue.is_broken);
    for queue in broken.clone() {
        notes.push(format!(
            "{}: does not fit the log, rebuilt from it",
            queue.dir.display()
        ));
    }
    let found: HashMap<(&str, i32), &FoundQueue> = queues
        .iter()
        .map(|queue| ((&*queue.topic, queue.id), queue))
        .collect();
    let mut noted = Vec::new();
    for queue in &known.queues {
        let found = found.get(&(&*queue.topic, queue.id));
        let is_broken = found.is_some_and(|found| found.is_broken);
        if !is_broken && found.is_none_or(|found| found.present < queue.count) {
            notes.push(format!(
                "consume queue {}/{}: units are missing, rebuilt from the log",
                queue.topic, queue.id
            ));
            noted.push(queue.clone());
        } else if is_broken {
            noted.push(queue.clone());
        }
    }
    let mut lacking = QueuesFile {
        queues: broken.map(|queue| queue.known(0)).collect(),
        ..QueuesFile::default()
    };
    lacking.raise(&noted);
    lacking
}

/// How far the files of these queues reach, believed or not.
fn seen_of<'a>(
    disk: &Arc<dyn Disk>,
    queues: impl Iterator<Item = &'a FoundQueue>,
    file_size: u64,
    dropped: &Dropped,
) -> Result<Vec<KnownQueue>> {
    queues
        .map(|queue| Ok(queue.known(last_place(disk, queue, file_size, dropped)?)))
        .collect()
}
