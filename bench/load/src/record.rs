//! Stored messages as a pull answer carries them: walked and checked (Apache's MessageDecoder).

use crate::frame::{i32_at, i64_at};

/// Topic length in one byte.
pub const MAGIC_V1: i32 = 0xDAA3_20A7_u32 as i32;
/// Topic length in two bytes.
const MAGIC_V2: i32 = 0xDAA3_20AB_u32 as i32;
pub const QUEUE_ID_AT: usize = 12;
pub const QUEUE_OFFSET_AT: usize = 20;
const SYS_FLAG_AT: usize = 36;
const BORN_HOST_V6: i32 = 0x10;
const STORE_HOST_V6: i32 = 0x20;
/// Everything but hosts, body, topic and properties.
const FIXED_SIZE: usize = 75;

pub struct Crc32 {
    tables: [[u32; 256]; 8],
}

impl Crc32 {
    /// CRC-32 (IEEE), eight bytes a step.
    pub fn new() -> Self {
        let mut tables = [[0u32; 256]; 8];
        for (byte, entry) in (0u32..).zip(&mut tables[0]) {
            *entry = (0..8).fold(byte, |crc, _| match crc & 1 {
                1 => crc >> 1 ^ 0xEDB8_8320,
                _ => crc >> 1,
            });
        }
        for step in 1..8 {
            let (known, rest) = tables.split_at_mut(step);
            for (entry, before) in rest[0].iter_mut().zip(&known[step - 1]) {
                *entry = before >> 8 ^ known[0][(before & 0xff) as usize];
            }
        }
        Self { tables }
    }

    pub fn of(&self, bytes: &[u8]) -> u32 {
        let mut crc = !0u32;
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            let head = crc ^ u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
            crc = (0..4).fold(0, |sum, byte| {
                let low = (head >> (8 * byte) & 0xff) as usize;
                sum ^ self.tables[7 - byte][low]
                    ^ self.tables[3 - byte][usize::from(chunk[4 + byte])]
            });
        }
        for &byte in chunks.remainder() {
            crc = crc >> 8 ^ self.tables[0][((crc ^ u32::from(byte)) & 0xff) as usize];
        }
        !crc
    }
}

/// What a pull must bring: records of one queue and topic with consecutive offsets.
pub struct Expected<'a> {
    pub topic: &'a [u8],
    pub queue: i32,
    pub first_offset: i64,
    pub crc: Option<&'a Crc32>,
}

/// The number of records in `body`, or what is wrong with the first bad one.
pub fn check(body: &[u8], expected: &Expected<'_>) -> Result<u64, String> {
    check_each(body, expected, |_| ())
}

/// The same, and `each` is shown every good record's body.
pub fn check_each(
    body: &[u8],
    expected: &Expected<'_>,
    mut each: impl FnMut(&[u8]),
) -> Result<u64, String> {
    let (mut rest, mut count) = (body, 0u64);
    while !rest.is_empty() {
        let (size, body) = one(rest, expected, expected.first_offset + count as i64)
            .map_err(|what| format!("record {count} of a pull: {what}"))?;
        each(body);
        rest = &rest[size..];
        count += 1;
    }
    Ok(count)
}

/// Its size and body.
fn one<'a>(
    bytes: &'a [u8],
    expected: &Expected<'_>,
    offset: i64,
) -> Result<(usize, &'a [u8]), String> {
    let cut = || String::from("its sizes disagree");
    let size = i32_at(bytes, 0)
        .and_then(|size| usize::try_from(size).ok())
        .ok_or_else(cut)?;
    let record = bytes
        .get(..size)
        .filter(|record| record.len() > FIXED_SIZE)
        .ok_or_else(cut)?;
    let magic = i32_at(record, 4).ok_or_else(cut)?;
    if magic != MAGIC_V1 && magic != MAGIC_V2 {
        return Err(format!("magic {magic:08x}"));
    }
    let queue = i32_at(record, QUEUE_ID_AT).ok_or_else(cut)?;
    let queue_offset = i64_at(record, QUEUE_OFFSET_AT).ok_or_else(cut)?;
    if (queue, queue_offset) != (expected.queue, offset) {
        return Err(format!(
            "queue {queue} offset {queue_offset} instead of queue {} offset {offset}",
            expected.queue
        ));
    }
    let sys_flag = i32_at(record, SYS_FLAG_AT).ok_or_else(cut)?;
    let host_size = |bit: i32| if sys_flag & bit == 0 { 8 } else { 20 };
    let body_at = 68 + host_size(BORN_HOST_V6) + host_size(STORE_HOST_V6);
    let length = |at: usize| i32_at(record, at).and_then(|n| usize::try_from(n).ok());
    let body_size = length(body_at).ok_or_else(cut)?;
    let body = record
        .get(body_at + 4..body_at + 4 + body_size)
        .ok_or_else(cut)?;
    let topic_at = body_at + 4 + body_size;
    let big_endian = |at: usize, width: usize| {
        let bytes = record.get(at..at + width)?;
        Some(
            bytes
                .iter()
                .fold(0usize, |sum, &byte| sum << 8 | usize::from(byte)),
        )
    };
    let width = if magic == MAGIC_V1 { 1 } else { 2 };
    let topic_size = big_endian(topic_at, width).ok_or_else(cut)?;
    let topic_end = topic_at + width + topic_size;
    let topic = record.get(topic_at + width..topic_end).ok_or_else(cut)?;
    if topic != expected.topic {
        return Err(format!("topic {:?}", String::from_utf8_lossy(topic)));
    }
    let properties_size = big_endian(topic_end, 2).ok_or_else(cut)?;
    if topic_end + 2 + properties_size != size {
        return Err(cut());
    }
    if let Some(crc) = expected.crc {
        let stored = i32_at(record, 8).ok_or_else(cut)?;
        let actual = (crc.of(body) & 0x7fff_ffff) as i32;
        if stored != actual {
            return Err(format!("body CRC {actual:08x}, stored {stored:08x}"));
        }
    }
    Ok((size, body))
}

/// One record as a broker stores it, with queue and offset 0 (for the server that does nothing).
pub fn build(topic: &[u8], body: &[u8], properties: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 84];
    out[4..8].copy_from_slice(&MAGIC_V1.to_be_bytes());
    out[8..12].copy_from_slice(&(Crc32::new().of(body) & 0x7fff_ffff).to_be_bytes());
    out.extend_from_slice(&(body.len() as i32).to_be_bytes());
    out.extend_from_slice(body);
    out.push(topic.len() as u8);
    out.extend_from_slice(topic);
    out.extend_from_slice(&(properties.len() as u16).to_be_bytes());
    out.extend_from_slice(properties);
    let size = out.len() as i32;
    out[..4].copy_from_slice(&size.to_be_bytes());
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Produced by Apache's classes: TopicTest, "Hello", queue 3, offset 42.
    const VECTOR: &str = "0000007edaa320a777d189820000000300000000000000000000002a00000000000003e8\
        000000000000018bcfe568000a000001000004d20000018bcfe568017f00000100002a9f000000000000000000\
        0000000000000548656c6c6f09546f706963546573740015\
        4b455953016b31206b32025441475301546167410 2";

    fn vector() -> Vec<u8> {
        let digits: Vec<u8> = VECTOR.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    fn expected(crc: &Crc32) -> Expected<'_> {
        Expected {
            topic: b"TopicTest",
            queue: 3,
            first_offset: 42,
            crc: Some(crc),
        }
    }

    #[test]
    fn a_record_of_apache_is_accepted() {
        let crc = Crc32::new();
        assert_eq!(vector().len(), 126);
        assert_eq!(check(&vector(), &expected(&crc)), Ok(1));
        assert_eq!(crc.of(b"123456789"), 0xCBF4_3926);
        assert_eq!(crc.of(b""), 0);
    }

    #[test]
    fn consecutive_records_are_counted_and_a_gap_is_found() {
        let crc = Crc32::new();
        let mut second = vector();
        second[QUEUE_OFFSET_AT + 7] = 43;
        assert_eq!(
            check(&[vector(), second.clone()].concat(), &expected(&crc)),
            Ok(2)
        );
        let error = check(&[vector(), vector()].concat(), &expected(&crc)).unwrap_err();
        assert!(error.contains("record 1"), "{error}");
        assert!(check(&second, &expected(&crc)).is_err());
    }

    #[test]
    fn a_changed_or_cut_record_is_found() {
        let crc = Crc32::new();
        // Size, magic, CRC, queue, body, topic, length of the properties.
        for at in [3, 7, 11, 15, 90, 98, 104] {
            let mut record = vector();
            record[at] ^= 1;
            assert!(check(&record, &expected(&crc)).is_err(), "{at}");
        }
        for length in 1..126 {
            assert!(
                check(&vector()[..length], &expected(&crc)).is_err(),
                "{length}"
            );
        }
    }

    #[test]
    fn built_records_are_like_stored_ones() {
        let crc = Crc32::new();
        let record = build(b"T", b"body", b"TAGS\x01a\x02");
        let expected = Expected {
            topic: b"T",
            queue: 0,
            first_offset: 0,
            crc: Some(&crc),
        };
        assert_eq!(check(&record, &expected), Ok(1));
    }
}
