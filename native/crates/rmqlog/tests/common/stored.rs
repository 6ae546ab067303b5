//! Messages whose places and bytes are remembered, and ways to damage the log they are in.
#![allow(dead_code, clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::PathBuf;

use rmqlog::Engine;

use super::{append, Dir};

pub const SEGMENT: u64 = 4096;

/// One message as it was stored.
pub struct Stored {
    pub topic: &'static str,
    pub queue_id: i32,
    pub queue_offset: i64,
    pub log: Range<u64>,
    pub bytes: Vec<u8>,
}

/// Stores `count` messages over several segments.
pub fn store(engine: &Engine, count: usize) -> Vec<Stored> {
    let mut stored = Vec::new();
    for number in 0..count {
        let topic = if number % 3 == 0 { "Other" } else { "Topic" };
        let queue_id = (number % 2) as i32;
        let body = format!("body {number} {}", "x".repeat(number % 7 * 9));
        let place = append(engine, topic, queue_id, body.as_bytes());
        engine.write().unwrap();
        stored.push(Stored {
            topic,
            queue_id,
            queue_offset: place.queue_offset,
            log: place.log_offset..place.end,
            bytes: engine.record_at(place.log_offset as i64).unwrap().unwrap(),
        });
    }
    stored
}

/// Every message a reader gets, by its queue and place.
pub fn served(engine: &Engine) -> BTreeMap<(String, i32, i64), Vec<u8>> {
    let mut found = BTreeMap::new();
    for topic in ["Topic", "Other"] {
        for id in engine.queue_ids(topic) {
            let (min, max) = engine.queue_range(topic, id);
            let mut at = min;
            while at < max {
                let (plan, bytes) = engine.read(topic, id, at, 5, 1 << 20).unwrap();
                assert!(plan.next_offset > at);
                at = plan.next_offset;
                let mut from = 0;
                for record in &plan.records {
                    let part = bytes[from..from + record.size as usize].to_vec();
                    from += record.size as usize;
                    found.insert((topic.to_string(), id, record.queue_offset), part);
                }
            }
        }
    }
    found
}

pub fn maxima(engine: &Engine) -> BTreeMap<(String, i32), i64> {
    let mut found = BTreeMap::new();
    for topic in ["Topic", "Other"] {
        for id in 0..2 {
            found.insert((topic.to_string(), id), engine.queue_range(topic, id).1);
        }
    }
    found
}

pub fn segment_path(dir: &Dir, base: u64) -> PathBuf {
    dir.path(&format!("commitlog/{base:020}"))
}

pub fn change(dir: &Dir, log_offset: u64, change: impl FnOnce(&mut [u8])) {
    let path = segment_path(dir, log_offset - log_offset % SEGMENT);
    let Ok(mut bytes) = fs::read(&path) else {
        return; // gone already
    };
    if (bytes.len() as u64) < SEGMENT {
        return; // cut already
    }
    change(&mut bytes[(log_offset % SEGMENT) as usize..]);
    fs::write(&path, bytes).unwrap();
}
