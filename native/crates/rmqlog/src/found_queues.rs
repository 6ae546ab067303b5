//! The queue directories at a start: how many units of each can be believed. Reads only.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, DiskFile};
use crate::error::{failed, failed_at, Result};
use crate::marker::KnownQueue;
use crate::queue_unit::{Unit, UNIT_SIZE};
use crate::recover::Dropped;
use crate::scan::LogFiles;
use crate::segment::{base_of, file_name};
use crate::settings::Settings;

/// A queue as its files show it.
#[derive(Debug, Clone)]
pub struct FoundQueue {
    pub topic: String,
    pub id: i32,
    pub dir: PathBuf,
    /// Queue positions in bytes where its files begin.
    pub bases: Vec<u64>,
    /// Those of files that have the size all should have.
    whole: Vec<u64>,
    pub min: i64,
    pub count: i64,
    /// One past the last unit there is, safe or not.
    pub present: i64,
    /// Its files contradict themselves or the log: they are removed, and rebuilt from the log.
    pub is_broken: bool,
    /// Something may be behind `count` that does not belong there.
    pub needs_cut: bool,
    /// Its first file is not a queue's first, and all of it points into the log: a file before it is gone
    /// that should be there, unless a segment of the log happened to begin just here.
    pub may_lack_begin: bool,
    /// The unit at `min` stands for a lost message.
    pub has_lost_first: bool,
}

impl FoundQueue {
    /// Calls the queue broken; [`last_place`] still tells how far its files reach.
    pub fn refuse_if(&mut self, is_broken: bool) {
        if is_broken {
            self.is_broken = true;
            (self.min, self.count, self.present) = (0, 0, 0);
        }
    }

    pub fn known(&self, count: i64) -> KnownQueue {
        KnownQueue {
            topic: self.topic.clone(),
            id: self.id,
            count,
        }
    }

    /// A queue that lacks nothing, wherever its files are.
    pub fn complete(known: &KnownQueue) -> FoundQueue {
        FoundQueue {
            topic: known.topic.clone(),
            id: known.id,
            dir: PathBuf::new(),
            bases: Vec::new(),
            min: 0,
            count: i64::MAX,
            present: i64::MAX,
            whole: Vec::new(),
            is_broken: false,
            needs_cut: false,
            may_lack_begin: false,
            has_lost_first: false,
        }
    }
}

/// The queue directories, and the size their files have: the configured one unless all agree on
/// another. A queue whose files differ from it is broken.
pub fn list_queues(disk: &Arc<dyn Disk>, settings: &Settings) -> Result<(Vec<FoundQueue>, u64)> {
    let dir = settings.root.join("consumequeue");
    let mut queues = Vec::new();
    let mut sizes: Vec<u64> = Vec::new();
    let list = |dir: &Path| disk.list(dir).map_err(|error| failed("list", dir, &error));
    let mut file_sizes: Vec<Vec<u64>> = Vec::new();
    for topic in list(&dir)?.into_iter().filter(|entry| entry.is_dir) {
        let topic_dir = dir.join(&topic.name);
        for queue in list(&topic_dir)?.into_iter().filter(|entry| entry.is_dir) {
            let Ok(id) = queue.name.parse::<i32>() else {
                continue;
            };
            let queue_dir = topic_dir.join(&queue.name);
            let mut found: Vec<(u64, u64)> = list(&queue_dir)?
                .iter()
                .filter(|entry| !entry.is_dir)
                .filter_map(|entry| base_of(&entry.name).map(|base| (base, entry.len)))
                .collect();
            found.sort_unstable();
            sizes.extend(found.iter().map(|&(_, size)| size));
            file_sizes.push(found.iter().map(|&(_, size)| size).collect());
            queues.push(FoundQueue {
                topic: topic.name.clone(),
                id,
                dir: queue_dir,
                bases: found.iter().map(|&(base, _)| base).collect(),
                whole: Vec::new(),
                min: 0,
                count: 0,
                present: 0,
                is_broken: false,
                needs_cut: false,
                may_lack_begin: false,
                has_lost_first: false,
            });
        }
    }
    let first = sizes
        .first()
        .copied()
        .unwrap_or(settings.consume_queue_file_size);
    let is_usable = first > 0 && first.is_multiple_of(UNIT_SIZE as u64) && first <= i32::MAX as u64;
    let all_agree = is_usable && sizes.iter().all(|&size| size == first);
    let size = if all_agree {
        first
    } else {
        settings.consume_queue_file_size
    };
    for (queue, file_sizes) in queues.iter_mut().zip(file_sizes) {
        let files = queue.bases.iter().zip(file_sizes);
        let whole = files.filter(|&(_, found)| found == size);
        queue.whole = whole.map(|(&base, _)| base).collect();
        let fits = queue.whole.len() == queue.bases.len();
        let is_contiguous = queue.bases.windows(2).all(|pair| pair[1] == pair[0] + size)
            && queue
                .bases
                .first()
                .is_none_or(|base| base.is_multiple_of(size));
        queue.is_broken = !fits || !is_contiguous;
    }
    Ok((queues, size))
}

/// Reads units of one queue straight from its files.
struct UnitReader<'a> {
    disk: &'a Arc<dyn Disk>,
    queue: &'a FoundQueue,
    file_size: u64,
    open: Option<(u64, Arc<dyn DiskFile>)>,
}

impl UnitReader<'_> {
    fn unit(&mut self, offset: i64) -> Result<Unit> {
        let position = offset as u64 * UNIT_SIZE as u64;
        let base = position - position % self.file_size;
        let path = self.queue.dir.join(file_name(base));
        if self.open.as_ref().is_none_or(|(open, _)| *open != base) {
            let file = self
                .disk
                .open(&path)
                .map_err(|error| failed("open", &path, &error))?;
            self.open = Some((base, file));
        }
        let mut bytes = [0u8; UNIT_SIZE];
        if let Some((_, file)) = &self.open {
            file.read_at(&mut bytes, position - base)
                .map_err(|error| failed_at("read", &path, position - base, &error))?;
        }
        Ok(Unit::decode(&bytes))
    }
}

/// First offset in `low..high` for which the question is answered no; all before it are yes.
fn partition(
    mut low: i64,
    mut high: i64,
    mut is_before: impl FnMut(i64) -> Result<bool>,
) -> Result<i64> {
    while low < high {
        let middle = low + (high - low) / 2;
        if is_before(middle)? {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

/// Finds how many units of a queue are safe (they point before `limit`) and which the first is that
/// points into the log. With `check_last` the last one is compared with its record.
pub fn measure(
    disk: &Arc<dyn Disk>,
    files: &LogFiles,
    queue: &mut FoundQueue,
    file_size: u64,
    limit: u64,
    check_last: bool,
) -> Result<()> {
    let (Some(&first), Some(&last), false) =
        (queue.bases.first(), queue.bases.last(), queue.is_broken)
    else {
        return Ok(());
    };
    let unit_size = UNIT_SIZE as u64;
    let begin = (first / unit_size) as i64;
    let end = ((last + file_size) / unit_size) as i64;
    let mut reader = UnitReader {
        disk,
        queue,
        file_size,
        open: None,
    };
    let count = partition(begin, end, |offset| {
        let unit = reader.unit(offset)?;
        Ok(unit.is_written() && unit.log_offset < limit)
    })?;
    let min = partition(begin, count, |offset| {
        let unit = reader.unit(offset)?;
        // Blank units behind others stand for lost messages and have a log position.
        Ok(unit.is_filler() || unit.log_offset < files.min)
    })?;
    let may_lack_begin = 0 < begin && begin == min && min < count;
    let has_lost_first = min < count && reader.unit(min)?.is_blank();
    let mut needs_cut = check_last;
    let mut is_broken = false;
    if check_last {
        // Halving does not notice a file without units between others.
        for base in queue.bases.iter().map(|base| (base / unit_size) as i64) {
            let last = base + (file_size / unit_size) as i64 - 1;
            for offset in [base, last].into_iter().filter(|&offset| offset < count) {
                is_broken |= !reader.unit(offset)?.is_written();
            }
        }
    }
    let mut present = count;
    if count < end {
        let behind = reader.unit(count)?;
        needs_cut |= behind.encode() != [0; UNIT_SIZE];
        if behind.is_written() {
            present = partition(count, end, |offset| Ok(reader.unit(offset)?.is_written()))?;
        }
    }
    if check_last && min < count {
        let mut last = count - 1;
        let mut unit = reader.unit(last)?;
        while unit.is_blank() && last > min {
            last -= 1;
            unit = reader.unit(last)?;
        }
        let fits = files.head(unit.log_offset)?.is_some_and(|head| {
            head[0..4] == unit.size.to_be_bytes()
                && head[12..16] == queue.id.to_be_bytes()
                && head[20..28] == last.to_be_bytes()
        });
        is_broken |= !fits && !unit.is_blank();
    }
    queue.is_broken = is_broken;
    queue.needs_cut = needs_cut;
    queue.may_lack_begin = may_lack_begin;
    queue.has_lost_first = has_lost_first;
    queue.min = if is_broken { 0 } else { min };
    queue.count = if is_broken { 0 } else { count };
    queue.present = if is_broken { 0 } else { present };
    Ok(())
}

/// Calls a queue broken whose files are still those of a dropped topic: the drop was interrupted before
/// they were gone, or a power cut brought them back. Places that stand for lost messages do not tell whose
/// they are; where no place is noted since the drop, they are taken for old.
pub fn refuse_dropped(
    disk: &Arc<dyn Disk>,
    queue: &mut FoundQueue,
    file_size: u64,
    dropped: &Dropped,
    is_noted: bool,
) -> Result<()> {
    let mut reader = UnitReader {
        disk,
        queue,
        file_size,
        open: None,
    };
    let mut is_broken = false;
    let mut tells = queue.count == 0;
    if queue.min < queue.count {
        // The new life of the topic may have written over the first units of the old one.
        for offset in [queue.min, queue.count - 1] {
            let unit = reader.unit(offset)?;
            tells |= !unit.is_blank();
            is_broken |= !unit.is_blank() && dropped.has(queue.topic.as_bytes(), unit.log_offset);
        }
    }
    queue.refuse_if(is_broken || !(tells || is_noted || mutant!("lost_places_of_a_dropped_topic")));
    Ok(())
}

/// One past the last place of a queue that any of its files shows, believed or not; what is left of a
/// dropped topic does not count. Where a power cut tore the files this may miss some, but it never finds
/// more once files were cut or removed.
pub fn last_place(
    disk: &Arc<dyn Disk>,
    queue: &FoundQueue,
    file_size: u64,
    dropped: &Dropped,
) -> Result<i64> {
    let unit_size = UNIT_SIZE as u64;
    let mut reader = UnitReader {
        disk,
        queue,
        file_size,
        open: None,
    };
    for &base in queue.whole.iter().rev() {
        let begin = (base / unit_size) as i64;
        let end = ((base + file_size) / unit_size) as i64;
        let place = partition(begin, end, |offset| Ok(reader.unit(offset)?.is_written()))?;
        if place > begin {
            let last = reader.unit(place - 1)?;
            let is_dropped = dropped.has(queue.topic.as_bytes(), last.log_offset);
            return Ok(if is_dropped { 0 } else { place });
        }
    }
    Ok(0)
}

/// Log offset of the newest unit of all queues.
pub fn newest_unit(
    disk: &Arc<dyn Disk>,
    queues: &[FoundQueue],
    file_size: u64,
) -> Result<Option<u64>> {
    let mut newest = None;
    for queue in queues.iter().filter(|queue| queue.count > queue.min) {
        let mut reader = UnitReader {
            disk,
            queue,
            file_size,
            open: None,
        };
        newest = newest.max(Some(reader.unit(queue.count - 1)?.log_offset));
    }
    Ok(newest)
}

/// Log offset of the newest unit of all queues, those included that point behind the log's end.
pub fn newest_seen(
    disk: &Arc<dyn Disk>,
    queues: &[FoundQueue],
    file_size: u64,
    dropped: &Dropped,
) -> Result<Option<u64>> {
    let mut newest = None;
    for queue in queues {
        let place = last_place(disk, queue, file_size, dropped)?;
        if place > queue.count {
            let mut reader = UnitReader {
                disk,
                queue,
                file_size,
                open: None,
            };
            newest = newest.max(Some(reader.unit(place - 1)?.log_offset));
        }
    }
    Ok(newest)
}
