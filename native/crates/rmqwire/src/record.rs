//! The message record: the same bytes in the commit log and in the answer to a pull.

use crate::bytes::Cursor;

const MAGIC_V1: i32 = -626_843_481;
const MAGIC_V2: i32 = -626_843_477;
const SIZE_MIN: i32 = 91;
const BORN_HOST_V6: i32 = 0x10;
const STORE_HOST_V6: i32 = 0x20;

/// One stored message. Sources: `MessageDecoder`, `MessageVersion`, `MessageSysFlag`.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    pub body_crc: i32,
    pub queue_id: i32,
    pub flag: i32,
    pub queue_offset: i64,
    pub log_offset: i64,
    pub sys_flag: i32,
    pub born_timestamp_ms: i64,
    pub born_host: &'a [u8],
    pub store_timestamp_ms: i64,
    pub store_host: &'a [u8],
    pub reconsume_times: i32,
    pub prepared_transaction_offset: i64,
    pub body: &'a [u8],
    pub topic: &'a [u8],
    pub properties: &'a [u8],
}

/// The record that begins at `at`, and where it ends; None unless its parts fill its size exactly.
#[must_use]
pub fn record_at(data: &[u8], at: usize) -> Option<(Record<'_>, usize)> {
    let size = Cursor::new(data, at).i32()?;
    if size < SIZE_MIN {
        return None;
    }
    let end = at.checked_add(usize::try_from(size).ok()?)?;
    let mut cursor = Cursor::new(data.get(..end)?, at + 4);
    let magic = cursor.i32()?;
    if magic != MAGIC_V1 && magic != MAGIC_V2 {
        return None;
    }
    let body_crc = cursor.i32()?;
    let queue_id = cursor.i32()?;
    let flag = cursor.i32()?;
    let queue_offset = cursor.i64()?;
    let log_offset = cursor.i64()?;
    let sys_flag = cursor.i32()?;
    let born_timestamp_ms = cursor.i64()?;
    let born_host = cursor.take(host_size(sys_flag, BORN_HOST_V6))?;
    let store_timestamp_ms = cursor.i64()?;
    let store_host = cursor.take(host_size(sys_flag, STORE_HOST_V6))?;
    let reconsume_times = cursor.i32()?;
    let prepared_transaction_offset = cursor.i64()?;
    let body_size = cursor.i32()?;
    let body = cursor.take(body_size)?;
    let topic_size = if magic == MAGIC_V1 {
        cursor.i8()?.into()
    } else {
        cursor.i16()?
    };
    let topic = cursor.take(topic_size.into())?;
    let properties_size = cursor.i16()?;
    let properties = cursor.take(properties_size.into())?;
    let record = Record {
        body_crc,
        queue_id,
        flag,
        queue_offset,
        log_offset,
        sys_flag,
        born_timestamp_ms,
        born_host,
        store_timestamp_ms,
        store_host,
        reconsume_times,
        prepared_transaction_offset,
        body,
        topic,
        properties,
    };
    cursor.is_at_end().then_some((record, end))
}

const fn host_size(sys_flag: i32, bit: i32) -> i32 {
    if sys_flag & bit == 0 {
        8
    } else {
        20
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VECTOR: &str = "0000007edaa320a777d189820000000300000000000000000000002a\
        00000000000003e8000000000000018bcfe568000a000001000004d20000018bcfe568017f00000100002a9f\
        0000000000000000000000000000000548656c6c6f09546f706963546573740015\
        4b455953016b31206b3202544147530154616741 02";

    fn vector() -> Vec<u8> {
        let digits: Vec<u8> = VECTOR
            .bytes()
            .filter_map(|b| (b as char).to_digit(16).map(|d| d as u8))
            .collect();
        digits
            .chunks(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect()
    }

    #[test]
    fn the_reference_record_decodes() {
        let data = vector();
        let decoded = record_at(&data, 0);
        assert!(decoded.is_some_and(|(record, end)| end == data.len()
            && record.topic == b"TopicTest"
            && record.body == b"Hello"
            && (record.queue_id, record.queue_offset, record.log_offset) == (3, 42, 1000)
            && record.properties == b"KEYS\x01k1 k2\x02TAGS\x01TagA\x02"));
    }

    #[test]
    fn a_cut_or_stretched_record_is_refused() {
        let data = vector();
        for end in 0..data.len() {
            assert!(record_at(&data[..end], 0).is_none());
        }
        let mut stretched = data.clone();
        stretched[3] += 1;
        stretched.push(0);
        assert!(record_at(&stretched, 0).is_none());
    }
}
