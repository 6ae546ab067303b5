//! The unit of a consume queue: 20 bytes, `i64 log offset | i32 size | i64 tag hash`.

use crate::record::TOPIC_SIZE_MAX;

pub const UNIT_SIZE: usize = 20;
/// Size field of units that stand for no message: those that fill a file before a queue's first one have
/// log position 0, those of lost ones one nearby.
const BLANK_UNIT_SIZE: i32 = i32::MAX;

/// One entry of a consume queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    pub log_offset: u64,
    pub size: i32,
    pub tag: i64,
}

impl Unit {
    pub const BLANK: Unit = Unit {
        log_offset: 0,
        size: BLANK_UNIT_SIZE,
        tag: 0,
    };

    pub fn encode(&self) -> [u8; UNIT_SIZE] {
        let mut out = [0u8; UNIT_SIZE];
        out[0..8].copy_from_slice(&self.log_offset.to_be_bytes());
        out[8..12].copy_from_slice(&self.size.to_be_bytes());
        out[12..20].copy_from_slice(&self.tag.to_be_bytes());
        out
    }

    pub fn decode(bytes: &[u8]) -> Unit {
        let mut log_offset = [0u8; 8];
        let mut size = [0u8; 4];
        let mut tag = [0u8; 8];
        log_offset.copy_from_slice(&bytes[0..8]);
        size.copy_from_slice(&bytes[8..12]);
        tag.copy_from_slice(&bytes[12..20]);
        Unit {
            log_offset: u64::from_be_bytes(log_offset),
            size: i32::from_be_bytes(size),
            tag: i64::from_be_bytes(tag),
        }
    }

    /// Log position behind the record.
    pub fn end(&self) -> u64 {
        self.log_offset
            .saturating_add(u64::from(self.size.unsigned_abs()))
    }

    /// Filler that stands for no message.
    pub fn is_blank(&self) -> bool {
        self.size == BLANK_UNIT_SIZE
    }

    /// Filler before a queue's first message, which has no log position.
    pub fn is_filler(&self) -> bool {
        self.is_blank() && self.log_offset == 0
    }

    /// Whether a file holds a unit here at all: unwritten bytes are zero.
    pub fn is_written(&self) -> bool {
        self.size > 0 && self.log_offset <= i64::MAX as u64
    }
}

/// Why a topic cannot be the name of a queue directory, if so.
pub fn topic_problem(topic: &str) -> Option<String> {
    if topic.is_empty() {
        return Some("topic is empty".to_string());
    }
    if topic.len() > TOPIC_SIZE_MAX {
        return Some(format!(
            "topic of {} bytes, at most {}",
            topic.len(),
            TOPIC_SIZE_MAX
        ));
    }
    if topic == "." || topic == ".." || topic.contains(['/', '\0']) {
        return Some(format!("topic {topic:?} cannot name a directory"));
    }
    None
}
