//! The bytes of an index file: header, entries, and where they lie (Apache's `IndexHeader`, `IndexFile`).

pub const HEADER_SIZE: u64 = 40;
pub const ENTRY_SIZE: usize = 20;
pub const SLOT_SIZE: u64 = 4;

/// How a key's hash enters the index: never negative.
pub fn key_hash(java_hash: i32) -> i32 {
    java_hash.checked_abs().unwrap_or(0)
}

/// The header, as the file's first 40 bytes say it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Header {
    pub begin_timestamp_ms: i64,
    pub end_timestamp_ms: i64,
    pub begin_log_offset: u64,
    pub end_log_offset: u64,
    /// Slots in use.
    pub slot_count: u32,
    /// Number of the next entry; 1 in an empty file.
    pub entry_count: u32,
}

impl Header {
    pub fn encode(&self) -> [u8; HEADER_SIZE as usize] {
        let mut out = [0u8; HEADER_SIZE as usize];
        out[0..8].copy_from_slice(&self.begin_timestamp_ms.to_be_bytes());
        out[8..16].copy_from_slice(&self.end_timestamp_ms.to_be_bytes());
        out[16..24].copy_from_slice(&self.begin_log_offset.to_be_bytes());
        out[24..32].copy_from_slice(&self.end_log_offset.to_be_bytes());
        out[32..36].copy_from_slice(&self.slot_count.to_be_bytes());
        out[36..40].copy_from_slice(&self.entry_count.to_be_bytes());
        out
    }

    pub fn decode(bytes: &[u8; HEADER_SIZE as usize]) -> Header {
        let entry_count = int_at(bytes, 36);
        Header {
            begin_timestamp_ms: long_at(bytes, 0),
            end_timestamp_ms: long_at(bytes, 8),
            begin_log_offset: long_at(bytes, 16).max(0) as u64,
            end_log_offset: long_at(bytes, 24).max(0) as u64,
            slot_count: int_at(bytes, 32).max(0) as u32,
            entry_count: if entry_count > 0 {
                entry_count as u32
            } else {
                1
            },
        }
    }
}

pub(crate) fn int_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn long_at(bytes: &[u8], at: usize) -> i64 {
    i64::from(int_at(bytes, at)) << 32 | i64::from(int_at(bytes, at + 4) as u32)
}

/// One entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexEntry {
    pub hash: i32,
    pub log_offset: i64,
    pub seconds: i32,
    pub previous: i32,
}

impl IndexEntry {
    pub fn encode(&self) -> [u8; ENTRY_SIZE] {
        let mut out = [0u8; ENTRY_SIZE];
        out[0..4].copy_from_slice(&self.hash.to_be_bytes());
        out[4..12].copy_from_slice(&self.log_offset.to_be_bytes());
        out[12..16].copy_from_slice(&self.seconds.to_be_bytes());
        out[16..20].copy_from_slice(&self.previous.to_be_bytes());
        out
    }

    pub fn decode(bytes: &[u8]) -> IndexEntry {
        IndexEntry {
            hash: int_at(bytes, 0),
            log_offset: long_at(bytes, 4),
            seconds: int_at(bytes, 12),
            previous: int_at(bytes, 16),
        }
    }
}

/// How many slots and entries every file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub slot_count: u32,
    /// Entry numbers below this are usable, as Apache counts them.
    pub entry_count: u32,
}

impl Shape {
    pub fn file_size(&self) -> u64 {
        self.entry_at(self.entry_count)
    }

    pub fn slot_at(&self, slot: u32) -> u64 {
        HEADER_SIZE + u64::from(slot) * SLOT_SIZE
    }

    pub fn entry_at(&self, number: u32) -> u64 {
        self.slot_at(self.slot_count) + u64::from(number) * ENTRY_SIZE as u64
    }

    pub fn slot_of(&self, hash: i32) -> u32 {
        hash as u32 % self.slot_count
    }
}

/// yyyyMMddHHmmssSSS in local time, as a number.
pub fn time_name(now_ms: i64) -> u64 {
    let seconds: libc::time_t = now_ms.div_euclid(1000);
    // SAFETY: all-zero is a valid `tm`; it is only written to.
    let mut parts: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live locals; `localtime_r` keeps neither.
    unsafe { libc::localtime_r(&raw const seconds, &raw mut parts) };
    let number = |value: libc::c_int| value.max(0) as u64;
    let mut name = number(parts.tm_year + 1900);
    for part in [
        parts.tm_mon + 1,
        parts.tm_mday,
        parts.tm_hour,
        parts.tm_min,
        parts.tm_sec,
    ] {
        name = name * 100 + number(part);
    }
    name * 1000 + now_ms.rem_euclid(1000) as u64
}
