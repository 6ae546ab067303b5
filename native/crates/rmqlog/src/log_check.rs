//! The look through the log at a start: every record checked in full. Reads only.

use std::collections::HashMap;

use crate::damage::Hole;
use crate::error::Result;
use crate::found_queues::FoundQueue;
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
}

/// Checks every record from `from` on, in full. Gaps count in records from `gap_from` on, those of
/// dropped topics excepted. The record's checksum covers its body only; a write torn in the properties
/// shows as a sector of zeros, or as zero bytes at their end: no record behind `vouched_to` is believed
/// with the first, and the last one not with the second.
pub fn scan(
    files: &LogFiles,
    from: u64,
    queues: &[FoundQueue],
    gap_from: u64,
    dropped: &Dropped,
    vouched_to: u64,
    doubted: &[Hole],
) -> Result<Scan> {
    // Units of each queue; behind the vouched part only its first record tells.
    let mut counts: HashMap<Vec<u8>, HashMap<i32, i64>> = HashMap::new();
    for queue in queues {
        let topic = counts.entry(queue.topic.clone().into_bytes()).or_default();
        topic.insert(queue.id, queue.count);
    }
    let mut scanner = Scanner::over_holes(files, from, files.max, doubted, vouched_to);
    let mut outcome = Scan {
        end: from,
        last: None,
        has_gap: false,
        from,
        holes: Vec::new(),
    };
    let mut before_last = None;
    let mut is_last_torn = false;
    loop {
        let found = match scanner.next_record()? {
            Ok(found) => found,
            Err(end) => {
                outcome.end = end.log_offset;
                if let Some(last) = outcome.last.filter(|_| is_last_torn) {
                    outcome.end = last.log_offset;
                    outcome.last = before_last;
                }
                // A gap can only be closed by looking further back.
                outcome.has_gap &= from > files.min;
                outcome.holes = scanner.take_holes();
                return Ok(outcome);
            }
        };
        before_last = outcome.last;
        outcome.last = Some(LastRecord {
            log_offset: found.log_offset,
            size: found.size as u32,
            store_timestamp_ms: found.store_timestamp_ms,
        });
        is_last_torn = found.properties.last() == Some(&0) && found.log_offset >= vouched_to;
        if !found.enters_queue() || found.log_offset < gap_from {
            continue;
        }
        if dropped.has(found.topic, found.log_offset) {
            continue;
        }
        if !counts.contains_key(found.topic) {
            counts.insert(found.topic.to_vec(), HashMap::new());
        }
        if let Some(topic) = counts.get_mut(found.topic) {
            let count = topic.entry(found.queue_id).or_insert(0);
            if found.log_offset < vouched_to {
                outcome.has_gap |= found.queue_offset >= *count; // its unit should be there
            } else {
                outcome.has_gap |= found.queue_offset > *count;
                *count = i64::MAX; // the ones behind it follow from the log itself
            }
        }
    }
}
