//! The look through the log at a start: every record checked in full. Reads only.

use std::collections::HashMap;

use crate::checkpoint::Checkpoint;
use crate::damage::Hole;
use crate::error::Result;
use crate::found_queues::FoundQueue;
use crate::record;
use crate::recover::{Dropped, LastRecord};
use crate::scan::{LogFiles, Scanner};

/// What a look through the log found.
pub struct Scan {
    pub end: u64,
    pub last: Option<LastRecord>,
    /// A record's queue lacks the units before it.
    pub has_gap: bool,
    /// Where it began, and the holes behind that.
    pub from: u64,
    pub holes: Vec<(Hole, &'static str)>,
    pub places: Places,
}

/// How far each queue comes, by topic and id: by its files, or by the records that were looked at.
#[derive(Default)]
pub struct Places(HashMap<Vec<u8>, HashMap<i32, Place>>);

#[derive(Clone, Copy, Default)]
struct Place {
    /// Units there are; behind the vouched part only a queue's first record tells.
    count: i64,
    /// One past the last place of a unit or a record.
    end: i64,
}

impl Places {
    pub fn new(queues: &[FoundQueue]) -> Places {
        let mut places = Places::default();
        for queue in queues {
            let (count, end) = (queue.count, queue.count);
            if let Some(place) = places.of(queue.topic.as_bytes(), queue.id) {
                *place = Place { count, end };
            }
        }
        places
    }

    /// A queue's place, made if there is none.
    fn of(&mut self, topic: &[u8], id: i32) -> Option<&mut Place> {
        if !self.0.contains_key(topic) {
            self.0.insert(topic.to_vec(), HashMap::new());
        }
        Some(self.0.get_mut(topic)?.entry(id).or_default())
    }

    /// One past the queue's last place that units or records show.
    pub fn end(&self, topic: &str, id: i32) -> i64 {
        let place = self.0.get(topic.as_bytes()).and_then(|ids| ids.get(&id));
        place.map_or(0, |place| place.end)
    }
}

/// What is known before a look.
pub struct Known<'a> {
    pub gap_from: u64,
    pub units_to: u64,
    pub vouched_to: u64,
    /// Holes an earlier start noted.
    pub doubted: &'a [Hole],
}

#[derive(Default)]
struct LastQueue {
    topic: Vec<u8>,
    id: i32,
    end: i64,
}

impl LastQueue {
    fn set(&mut self, topic: &[u8], id: i32, end: i64) {
        self.topic.extend_from_slice(topic);
        (self.id, self.end) = (id, end);
    }
}

/// Checks every record from `from` on, in full. Gaps count in records from `gap_from` on, those of
/// dropped topics excepted. Those before `units_to` should have a unit. The record's checksum covers its body only; a write torn in the properties
/// shows as a sector of zeros, or as zero bytes at their end: no record behind `vouched_to` is believed
/// with the first, and the last one not with the second.
pub fn scan(
    files: &LogFiles,
    from: u64,
    queues: &[FoundQueue],
    dropped: &Dropped,
    known: &Known<'_>,
) -> Result<Scan> {
    let Known {
        gap_from,
        units_to,
        vouched_to,
        doubted,
    } = *known;
    let mut places = Places::new(queues);
    let mut scanner = Scanner::over_holes(files, from, files.max, doubted, vouched_to);
    let mut outcome = Scan {
        end: from,
        last: None,
        has_gap: false,
        from,
        holes: Vec::new(),
        places: Places::default(),
    };
    let mut before_last = None;
    let mut is_last_torn = false;
    // The last record's queue, and how far it came without that record.
    let mut last_queue = LastQueue::default();
    loop {
        let found = match scanner.next_record()? {
            Ok(found) => found,
            Err(end) => {
                outcome.end = end.log_offset;
                if let Some(last) = outcome.last.filter(|_| is_last_torn) {
                    outcome.end = last.log_offset;
                    outcome.last = before_last;
                    if let Some(place) = places.of(&last_queue.topic, last_queue.id) {
                        place.end = last_queue.end;
                    }
                }
                // A gap can only be closed by looking further back.
                outcome.has_gap &= from > files.min;
                outcome.holes = scanner.take_holes();
                outcome.places = places;
                return Ok(outcome);
            }
        };
        before_last = outcome.last;
        outcome.last = Some(LastRecord {
            log_offset: found.log_offset,
            size: found.size as u32,
            store_timestamp_ms: found.store_timestamp_ms,
        });
        last_queue.topic.clear();
        is_last_torn = found.properties.last() == Some(&0) && found.log_offset >= vouched_to;
        if !found.enters_queue() || found.log_offset < gap_from {
            continue;
        }
        if dropped.has(found.topic, found.log_offset) {
            continue;
        }
        let Some(place) = places.of(found.topic, found.queue_id) else {
            continue;
        };
        last_queue.set(found.topic, found.queue_id, place.end);
        place.end = place.end.max(found.queue_offset + 1);
        if found.log_offset < units_to {
            outcome.has_gap |= found.queue_offset >= place.count; // its unit should be there
        } else {
            outcome.has_gap |= found.queue_offset > place.count;
            place.count = i64::MAX; // the ones behind it follow from the log itself
        }
    }
}

/// The beginning of the segment `log_offset` is in, or of the nearest one before it that holds a record.
pub fn first_with_records(files: &LogFiles, log_offset: u64) -> Result<u64> {
    let mut base = files.base_of(log_offset.min(files.max));
    while base > files.min && files.head(base)?.is_none() {
        base -= files.segment_size;
    }
    Ok(base.max(files.min))
}

/// From which segment on Apache would look after being killed: the newest one whose first record is
/// not behind what its checkpoint calls safe.
pub fn foreign_safe_base(files: &LogFiles, checkpoint: Option<&Checkpoint>) -> Result<u64> {
    let Some(checkpoint) = checkpoint else {
        return Ok(files.min);
    };
    let mut base = files.max;
    while base > files.min {
        base -= files.segment_size;
        let Some(head) = files.head(base)? else {
            continue;
        };
        let time = record::store_timestamp(&head).unwrap_or(0);
        let is_safe = if checkpoint.queues_log_offset > 0 {
            base as i64 <= checkpoint.queues_log_offset
        } else {
            time <= checkpoint.queues_timestamp_ms
        };
        if time != 0 && is_safe {
            return Ok(base);
        }
    }
    Ok(files.min)
}
