//! Checksums of whole records, several at a time.
//!
//! The processor's instruction takes eight bytes and three cycles, but another one can begin in each cycle if
//! it need not wait for the result. Records are too short for what the library does about that within one.

use crate::crc_file::record_crc;

/// Records whose checksums are made side by side.
pub const GROUP_COUNT: usize = 4;

/// What [`record_crc`] makes of each.
pub fn record_crcs(records: [&[u8]; GROUP_COUNT]) -> [u32; GROUP_COUNT] {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("sse4.2") {
        // SAFETY: the processor has the instructions.
        return unsafe { side_by_side(records) };
    }
    records.map(record_crc)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse4.2")]
fn side_by_side(records: [&[u8]; GROUP_COUNT]) -> [u32; GROUP_COUNT] {
    use std::arch::x86_64::_mm_crc32_u64;

    let words = records.map(|record| record.as_chunks::<8>().0);
    let count = words.iter().map(|words| words.len()).min().unwrap_or(0);
    let words = words.map(|words| &words[..count]);
    let mut crcs = [u64::from(u32::MAX); GROUP_COUNT];
    for number in 0..count {
        for (crc, words) in crcs.iter_mut().zip(words) {
            *crc = _mm_crc32_u64(*crc, u64::from_le_bytes(words[number]));
        }
    }
    let mut results = [0; GROUP_COUNT];
    for (place, result) in results.iter_mut().enumerate() {
        let rest = &records[place][count * 8..];
        *result = crc32c::crc32c_append(!(crcs[place] as u32), rest);
    }
    results
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_any_sizes_have_the_checksums_they_have_alone() {
        let bytes: Vec<u8> = (0..4000u32)
            .map(|number| ((number * number) >> 3) as u8)
            .collect();
        let sizes = [0, 1, 7, 8, 9, 91, 312, 313, 777, 2500];
        for (number, size) in sizes.into_iter().enumerate() {
            for shift in 0..9 {
                let size_of = |place: usize| sizes[(number + place * shift) % sizes.len()];
                let records = [
                    &bytes[shift..shift + size],
                    &bytes[2 * shift..2 * shift + size_of(1)],
                    &bytes[1000 - shift..1000 - shift + size_of(2)],
                    &bytes[7..7 + size_of(3)],
                ];
                assert_eq!(record_crcs(records), records.map(record_crc));
            }
        }
    }
}
