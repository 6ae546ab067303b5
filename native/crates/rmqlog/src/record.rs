//! The message record: how it is written, read back and checked, and what its properties say.
//!
//! Layout and rules: Apache's `MessageExtEncoder` and `CommitLog.checkMessageAndReturnSize`.

/// Topic length in one byte.
pub const MAGIC_V1: u32 = 0xDAA3_20A7;
/// Topic length in two bytes; used for topics longer than 127 bytes.
pub const MAGIC_V2: u32 = 0xDAA3_20AB;
/// The filler at the end of a segment that has no room for the next record.
pub const MAGIC_BLANK: u32 = 0xCBD4_3194;

/// Smallest room a segment keeps for the blank record.
pub const BLANK_SIZE: usize = 8;
pub const PROPERTIES_SIZE_MAX: usize = 32_767;
/// A longer topic could not be the name of its queue directory.
pub const TOPIC_SIZE_MAX: usize = 255;
const TOPIC_SIZE_MAX_V1: usize = 127;

pub const SYS_FLAG_BORN_HOST_V6: i32 = 0x10;
pub const SYS_FLAG_STORE_HOST_V6: i32 = 0x20;
const SYS_FLAG_TRANSACTION: i32 = 0xC;
const SYS_FLAG_PREPARED: i32 = 0x4;
const SYS_FLAG_ROLLBACK: i32 = 0xC;

const NAME_END: u8 = 1;
const VALUE_END: u8 = 2;

/// Bytes of a record from TOTALSIZE up to and with BORNTIMESTAMP.
const HEAD_SIZE: usize = 48;
/// Fixed bytes beside the head: two host fields counted apart, store time, reconsume times, prepared
/// offset, body length.
const MIDDLE_SIZE: usize = 8 + 4 + 8 + 4;
/// The shortest record there can be: IPv4 hosts, empty body, empty topic, no properties.
pub const RECORD_SIZE_MIN: usize = HEAD_SIZE + 8 + 8 + MIDDLE_SIZE + 1 + 2;

/// A message as the caller hands it over.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    pub topic: &'a [u8],
    pub queue_id: i32,
    pub body: &'a [u8],
    pub properties: &'a [u8],
    pub flag: i32,
    pub sys_flag: i32,
    pub born_timestamp_ms: i64,
    pub born_host: &'a [u8],
    pub reconsume_times: i32,
    pub prepared_transaction_offset: i64,
}

/// What the log adds to a message.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    pub queue_offset: i64,
    pub log_offset: u64,
    pub store_timestamp_ms: i64,
    pub store_host: &'a [u8],
}

/// CRC-32 (IEEE) without its sign bit, as the record carries it.
pub fn body_crc(body: &[u8]) -> u32 {
    crc32fast::hash(body) & 0x7FFF_FFFF
}

/// Bytes the record of `message` will have.
pub fn encoded_size(message: &Message<'_>, store_host: &[u8]) -> usize {
    HEAD_SIZE
        + message.born_host.len()
        + store_host.len()
        + MIDDLE_SIZE
        + message.body.len()
        + if message.topic.len() > TOPIC_SIZE_MAX_V1 {
            2
        } else {
            1
        }
        + message.topic.len()
        + 2
        + message.properties.len()
}

/// Appends the record to `out`. Sizes were checked by the caller.
pub fn encode(message: &Message<'_>, place: &Place<'_>, out: &mut Vec<u8>) {
    let size = encoded_size(message, place.store_host);
    out.reserve(size);
    let is_long = message.topic.len() > TOPIC_SIZE_MAX_V1;
    let magic = if is_long { MAGIC_V2 } else { MAGIC_V1 };
    let mut sys_flag = message.sys_flag & !(SYS_FLAG_BORN_HOST_V6 | SYS_FLAG_STORE_HOST_V6);
    if message.born_host.len() == 20 {
        sys_flag |= SYS_FLAG_BORN_HOST_V6;
    }
    if place.store_host.len() == 20 {
        sys_flag |= SYS_FLAG_STORE_HOST_V6;
    }
    let mut head = [0u8; HEAD_SIZE];
    head[0..4].copy_from_slice(&(size as u32).to_be_bytes());
    head[4..8].copy_from_slice(&magic.to_be_bytes());
    head[8..12].copy_from_slice(&body_crc(message.body).to_be_bytes());
    head[12..16].copy_from_slice(&message.queue_id.to_be_bytes());
    head[16..20].copy_from_slice(&message.flag.to_be_bytes());
    head[20..28].copy_from_slice(&place.queue_offset.to_be_bytes());
    head[28..36].copy_from_slice(&place.log_offset.to_be_bytes());
    head[36..40].copy_from_slice(&sys_flag.to_be_bytes());
    head[40..48].copy_from_slice(&message.born_timestamp_ms.to_be_bytes());
    out.extend_from_slice(&head);
    out.extend_from_slice(message.born_host);
    out.extend_from_slice(&place.store_timestamp_ms.to_be_bytes());
    out.extend_from_slice(place.store_host);
    let mut middle = [0u8; 16];
    middle[0..4].copy_from_slice(&message.reconsume_times.to_be_bytes());
    middle[4..12].copy_from_slice(&message.prepared_transaction_offset.to_be_bytes());
    middle[12..16].copy_from_slice(&(message.body.len() as u32).to_be_bytes());
    out.extend_from_slice(&middle);
    out.extend_from_slice(message.body);
    if is_long {
        out.extend_from_slice(&(message.topic.len() as u16).to_be_bytes());
    } else {
        out.push(message.topic.len() as u8);
    }
    out.extend_from_slice(message.topic);
    out.extend_from_slice(&(message.properties.len() as u16).to_be_bytes());
    out.extend_from_slice(message.properties);
}

/// The blank record of a segment with `room` bytes left.
pub fn encode_blank(room: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&(room as u32).to_be_bytes());
    out.extend_from_slice(&MAGIC_BLANK.to_be_bytes());
}

/// A record found whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    pub size: usize,
    pub queue_id: i32,
    pub queue_offset: i64,
    pub log_offset: u64,
    pub sys_flag: i32,
    pub store_timestamp_ms: i64,
    pub body: &'a [u8],
    pub topic: &'a [u8],
    pub properties: &'a [u8],
    /// All of it.
    pub bytes: &'a [u8],
}

impl Record<'_> {
    /// Prepared and rolled-back messages are stored but never enter a consume queue.
    pub fn enters_queue(&self) -> bool {
        enters_queue(self.sys_flag)
    }
}

pub fn enters_queue(sys_flag: i32) -> bool {
    !matches!(
        sys_flag & SYS_FLAG_TRANSACTION,
        SYS_FLAG_PREPARED | SYS_FLAG_ROLLBACK
    )
}

/// Rolled-back messages are not indexed either.
pub fn is_indexed(sys_flag: i32) -> bool {
    sys_flag & SYS_FLAG_TRANSACTION != SYS_FLAG_ROLLBACK
}

/// What lies at a position of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found<'a> {
    Record(Record<'a>),
    /// Filler up to the end of the segment.
    Blank,
    /// The bytes handed over end before the record does; it needs this many.
    Partial(usize),
    /// No record; says why.
    Bad(&'static str),
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) << 32 | u64::from(u32_at(bytes, at + 4))
}

/// Looks at the record that should begin at `bytes[0]`, log position `log_offset`, with `room` bytes
/// up to the end of its segment. Every size, the magic, the position and (unless the caller knows the
/// bytes) the body's checksum must agree.
pub fn parse(bytes: &[u8], log_offset: u64, room: u64, check_body: bool) -> Found<'_> {
    if room < BLANK_SIZE as u64 {
        return Found::Bad("no room for a record");
    }
    if bytes.len() < BLANK_SIZE {
        return Found::Partial(BLANK_SIZE);
    }
    let size = u32_at(bytes, 0) as usize;
    let magic = u32_at(bytes, 4);
    let topic_size_width = match magic {
        MAGIC_V1 => 1,
        MAGIC_V2 => 2,
        MAGIC_BLANK if size as u64 == room => return Found::Blank,
        MAGIC_BLANK => return Found::Bad("blank record of a wrong size"),
        0 if size == 0 => return Found::Bad("nothing written here"),
        _ => return Found::Bad("wrong magic"),
    };
    if size < RECORD_SIZE_MIN || size as u64 + BLANK_SIZE as u64 > room {
        return Found::Bad("total size out of range");
    }
    if bytes.len() < RECORD_SIZE_MIN {
        return Found::Partial(RECORD_SIZE_MIN);
    }
    // Looked at before the size is believed: the caller may fetch that many bytes.
    if u64_at(bytes, 28) != log_offset {
        return Found::Bad("physical offset differs from its position");
    }
    if bytes.len() < size {
        return Found::Partial(size);
    }
    let bytes = &bytes[..size];
    let sys_flag = u32_at(bytes, 36) as i32;
    let born_size = if sys_flag & SYS_FLAG_BORN_HOST_V6 == 0 {
        8
    } else {
        20
    };
    let store_size = if sys_flag & SYS_FLAG_STORE_HOST_V6 == 0 {
        8
    } else {
        20
    };
    let body_size_at = HEAD_SIZE + born_size + 8 + store_size + 12;
    let body_at = body_size_at + 4;
    if body_at > size {
        return Found::Bad("hosts do not fit into the total size");
    }
    let body_size = u32_at(bytes, body_size_at) as usize;
    if body_size > size - body_at {
        return Found::Bad("body does not fit into the total size");
    }
    let topic_size_at = body_at + body_size;
    let topic_at = topic_size_at + topic_size_width;
    if topic_at > size {
        return Found::Bad("topic does not fit into the total size");
    }
    let topic_size = if topic_size_width == 1 {
        usize::from(bytes[topic_size_at])
    } else {
        usize::from(bytes[topic_size_at]) << 8 | usize::from(bytes[topic_size_at + 1])
    };
    let properties_size_at = topic_at + topic_size;
    if properties_size_at + 2 > size {
        return Found::Bad("topic does not fit into the total size");
    }
    let properties_size =
        usize::from(bytes[properties_size_at]) << 8 | usize::from(bytes[properties_size_at + 1]);
    let properties_at = properties_size_at + 2;
    if properties_at + properties_size != size {
        return Found::Bad("lengths do not add up to the total size");
    }
    let body = &bytes[body_at..topic_size_at];
    if check_body && !body.is_empty() && body_crc(body) != u32_at(bytes, 8) {
        return Found::Bad("body checksum differs");
    }
    Found::Record(Record {
        size,
        queue_id: u32_at(bytes, 12) as i32,
        queue_offset: u64_at(bytes, 20) as i64,
        log_offset,
        sys_flag,
        store_timestamp_ms: u64_at(bytes, HEAD_SIZE + born_size) as i64,
        body,
        topic: &bytes[topic_at..properties_size_at],
        properties: &bytes[properties_at..],
        bytes,
    })
}

/// Whether a record seems to begin with these bytes, at least [`STORE_TIME_PREFIX`] of them.
pub fn is_head(bytes: &[u8], log_offset: u64) -> bool {
    bytes.len() >= STORE_TIME_PREFIX
        && bytes[28..36] == log_offset.to_be_bytes()
        && [MAGIC_V1, MAGIC_V2].contains(&u32_at(bytes, 4))
}

/// As many first bytes of a record as [`store_timestamp`] looks at.
pub const STORE_TIME_PREFIX: usize = HEAD_SIZE + 20 + 8;

/// The store time, read from a record's first bytes without looking at the rest.
pub fn store_timestamp(prefix: &[u8]) -> Option<i64> {
    if prefix.len() < HEAD_SIZE {
        return None;
    }
    let sys_flag = u32_at(prefix, 36) as i32;
    let at = HEAD_SIZE
        + if sys_flag & SYS_FLAG_BORN_HOST_V6 == 0 {
            8
        } else {
            20
        };
    if prefix.len() < at + 8 {
        return None;
    }
    Some(u64_at(prefix, at) as i64)
}

/// The property values dispatch cares for; absent and empty are the same, the last of a name counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Marks<'a> {
    pub tags: &'a [u8],
    pub keys: &'a [u8],
    pub unique_key: &'a [u8],
    pub delay_level: &'a [u8],
}

/// Walks the properties text once. Pairs without name or value count as absent, as in Apache's
/// `MessageDecoder.string2messageProperties`.
pub fn scan_properties(properties: &[u8]) -> Marks<'_> {
    let mut marks = Marks::default();
    let mut rest = properties;
    while !rest.is_empty() {
        let end = find_byte(rest, VALUE_END);
        let pair = &rest[..end];
        rest = rest.get(end + 1..).unwrap_or_default();
        match pair.first() {
            Some(b'T') => take_value(pair, b"TAGS", &mut marks.tags),
            Some(b'K') => take_value(pair, b"KEYS", &mut marks.keys),
            Some(b'U') => take_value(pair, b"UNIQ_KEY", &mut marks.unique_key),
            Some(b'D') => take_value(pair, b"DELAY", &mut marks.delay_level),
            _ => {}
        }
    }
    marks
}

fn take_value<'a>(pair: &'a [u8], name: &[u8], value: &mut &'a [u8]) {
    if pair.len() > name.len() + 1 && pair.starts_with(name) && pair[name.len()] == NAME_END {
        *value = &pair[name.len() + 1..];
    }
}

/// Index of the first `wanted` byte, or the length; eight bytes a step.
fn find_byte(bytes: &[u8], wanted: u8) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let pattern = ONES * u64::from(wanted);
    let mut at = 0;
    for chunk in bytes.chunks_exact(8) {
        let mut word = [0u8; 8];
        word.copy_from_slice(chunk);
        let different = u64::from_le_bytes(word) ^ pattern;
        let hits = different.wrapping_sub(ONES) & !different & HIGHS;
        if hits != 0 {
            return at + (hits.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while at < bytes.len() && bytes[at] != wanted {
        at += 1;
    }
    at
}

/// Java's `String.hashCode` of `text` behind a text whose hash is `seed`.
pub fn java_hash(seed: i32, text: &[u8]) -> i32 {
    if text.is_ascii() {
        return ascii_hash(seed, text);
    }
    String::from_utf8_lossy(text)
        .encode_utf16()
        .fold(seed, |hash, unit| {
            hash.wrapping_mul(31).wrapping_add(i32::from(unit))
        })
}

/// Eight bytes a step: multiplied by powers of 31 they need not wait for one another.
fn ascii_hash(seed: i32, text: &[u8]) -> i32 {
    const P2: i32 = 31 * 31;
    const P3: i32 = P2 * 31;
    const P4: i32 = P3 * 31;
    const P5: i32 = P4 * 31;
    const P6: i32 = P5 * 31;
    const P7: i32 = P6.wrapping_mul(31);
    const P8: i32 = P7.wrapping_mul(31);
    const POWERS: [i32; 8] = [P7, P6, P5, P4, P3, P2, 31, 1];
    let chunks = text.chunks_exact(8);
    let rest = chunks.remainder();
    let hash = chunks.fold(seed, |hash, chunk| {
        let sum = chunk.iter().zip(POWERS).fold(0i32, |sum, (&byte, power)| {
            sum.wrapping_add(i32::from(byte).wrapping_mul(power))
        });
        hash.wrapping_mul(P8).wrapping_add(sum)
    });
    rest.iter().fold(hash, |hash, &byte| {
        hash.wrapping_mul(31).wrapping_add(i32::from(byte))
    })
}

/// The queue unit's third field: the tag hash, or for a delay queue the time of delivery.
pub fn tag_field(
    topic: &[u8],
    marks: &Marks<'_>,
    store_timestamp_ms: i64,
    delay_levels_ms: &[i64],
) -> i64 {
    let hash = i64::from(java_hash(0, marks.tags));
    if marks.delay_level.is_empty() || topic != b"SCHEDULE_TOPIC_XXXX" {
        return hash;
    }
    let level = std::str::from_utf8(marks.delay_level)
        .ok()
        .and_then(|text| text.parse().ok());
    let level = level.unwrap_or(0).min(delay_levels_ms.len() as i64);
    if level <= 0 {
        return hash;
    }
    store_timestamp_ms + delay_levels_ms[level as usize - 1]
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
