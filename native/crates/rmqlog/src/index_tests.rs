#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;
use crate::disk::RealDisk;
use crate::index_format::key_hash;
use crate::record::java_hash;

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Dir {
        let path = std::env::temp_dir().join(format!("rmqlog-{name}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&path));
        std::fs::create_dir_all(&path).unwrap();
        Dir(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

const SHAPE: Shape = Shape {
    slot_count: 100,
    entry_count: 400,
};

fn index(dir: &Dir, shape: Shape) -> IndexSet {
    IndexSet::new(Arc::new(RealDisk), dir.0.join("index"), shape)
}

fn hash(text: &str) -> i32 {
    key_hash(java_hash(0, text.as_bytes()))
}

fn write_all(index: &mut IndexSet, cache: &mut FileCache, is_closing: bool) {
    while let Some(write) = index.take_write(cache, is_closing).unwrap() {
        for (at, parts) in write.runs() {
            write.file.write_vectored_at(&parts, at).unwrap();
        }
        index.was_written(&write);
    }
}

#[test]
fn header_and_entries_lie_where_apache_puts_them() {
    let captured =
        "000001a1fb98b325000001a1fb9b98c70000000000000000000000000000679b00000046000000c4";
    let mut bytes = [0u8; 40];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&captured[at * 2..at * 2 + 2], 16).unwrap();
    }
    let header = Header::decode(&bytes);
    assert_eq!((header.slot_count, header.entry_count), (70, 196));
    assert_eq!(
        (header.begin_log_offset, header.end_log_offset),
        (0, 0x679b)
    );
    assert_eq!(header.begin_timestamp_ms, 0x1a1_fb98_b325);
    assert_eq!(header.encode(), bytes);
    assert_eq!(SHAPE.file_size(), 8440);

    let dir = Dir::new("index-bytes");
    let (mut index, mut cache) = (index(&dir, SHAPE), FileCache::default());
    index.put(&mut cache, &[hash("T#a"), hash("T#a")], 7, 5000);
    index.put(&mut cache, &[hash("T#a")], 9, 7999);
    write_all(&mut index, &mut cache, true);
    let path = &index.files[0].path;
    let content = std::fs::read(path).unwrap();
    assert_eq!(content.len(), 8440);
    let header = Header {
        begin_timestamp_ms: 5000,
        end_timestamp_ms: 7999,
        begin_log_offset: 7,
        end_log_offset: 9,
        slot_count: 1,
        entry_count: 4,
    };
    assert_eq!(content[..40], header.encode());
    let slot = hash("T#a") as usize % 100;
    assert_eq!(content[40 + slot * 4..44 + slot * 4], 3u32.to_be_bytes());
    let entries = &content[440..];
    let entry = |log_offset, seconds, previous| {
        IndexEntry {
            hash: hash("T#a"),
            log_offset,
            seconds,
            previous,
        }
        .encode()
    };
    assert_eq!(entries[..20], [0; 20]);
    assert_eq!(entries[20..40], entry(7, 0, 0));
    assert_eq!(entries[40..60], entry(7, 0, 1));
    assert_eq!(entries[60..80], entry(9, 2, 2));
}

#[test]
fn file_names_are_times() {
    assert_eq!(time_name(0).to_string().len(), 14 + 3);
    assert_eq!(time_name(1_700_000_000_123) % 1000, 123);
    assert!(time_name(1_700_000_001_000) > time_name(1_700_000_000_123));
}

#[test]
fn a_hash_is_never_negative() {
    assert_eq!(key_hash(i32::MIN), 0);
    assert_eq!(key_hash(-5), 5);
}

#[test]
fn queries_walk_full_files_newest_first_and_answer_ascending() {
    let dir = Dir::new("index-walk");
    let shape = Shape {
        slot_count: 3,
        entry_count: 4,
    };
    let (mut index, mut cache) = (index(&dir, shape), FileCache::default());
    for number in 0..20u64 {
        let key = format!("T#{}", number % 2);
        index.put(
            &mut cache,
            &[hash(&key)],
            number * 10,
            1000 * number as i64 + 1,
        );
        if number % 5 == 0 {
            write_all(&mut index, &mut cache, false);
        }
    }
    assert_eq!(index.files.len(), 7);
    let mut find = |count, begin, end| {
        index
            .find(&mut cache, hash("T#0"), count, begin, end)
            .unwrap()
    };
    assert_eq!(find(3, 0, i64::MAX), [140, 160, 180]);
    assert_eq!(
        find(100, 0, i64::MAX),
        (0..10).map(|n| n * 20).collect::<Vec<u64>>()
    );
    assert!(find(100, 90_000, 95_000).is_empty());
    // Whole seconds since the file's first entry decide; a file's first entry counts from the file
    // before, so it seems later than it is (as in Apache).
    assert_eq!(find(100, 4000, 4001), [40]);
    let first_of_a_file = find(100, 6002, 7001);
    assert_eq!(first_of_a_file, [60]);
}

/// Every prefix of entries, rebuilt, gives the slots that writing them had given.
#[test]
fn slots_computed_from_entries_are_those_that_were_written() {
    let dir = Dir::new("index-rebuild");
    let shape = Shape {
        slot_count: 7,
        entry_count: 40,
    };
    let mut cache = FileCache::default();
    let mut first = index(&dir, shape);
    for number in 0..30u64 {
        let keys = [
            hash(&format!("T#{}", number % 4)),
            hash(&format!("T#u{number}")),
        ];
        first.put(&mut cache, &keys, number * 100, 1000);
    }
    write_all(&mut first, &mut cache, true);
    let mut all = Vec::new();
    for number in 0..4 {
        let key = hash(&format!("T#{number}"));
        all.push(first.find(&mut cache, key, 100, 0, i64::MAX).unwrap());
    }
    // Scribble over the slots: after a crash they are not to be believed.
    for file in &first.files {
        let open = RealDisk.open(&file.path).unwrap();
        open.write_at(&[0xFF; 28], 40).unwrap();
    }
    for log_end in (0..=3000).step_by(50) {
        for is_complete in [true, false] {
            let mut cache = FileCache::default();
            let mut again = index(&dir, shape);
            assert!(again.load(&mut cache).unwrap());
            let (from, removed) = again.rebuild(&mut cache, 0, log_end, is_complete).unwrap();
            // A newest record that may lack entries is indexed again.
            let newest = (log_end.div_ceil(100).min(30) * 100).saturating_sub(100);
            assert!(
                from == log_end || (!is_complete && from <= newest),
                "{log_end} {from}"
            );
            assert!(is_complete || newest - from < 100);
            assert!(removed.len() <= 2);
            for number in (from.div_ceil(100))..30 {
                let keys = [
                    hash(&format!("T#{}", number % 4)),
                    hash(&format!("T#u{number}")),
                ];
                again.put(&mut cache, &keys, number * 100, 1000);
            }
            for (number, expected) in all.iter().enumerate() {
                let key = hash(&format!("T#{number}"));
                let mut found = again.find(&mut cache, key, 100, 0, i64::MAX).unwrap();
                found.dedup(); // of a record whose entries span two files
                assert_eq!(&found, expected, "{log_end} {is_complete}");
            }
        }
    }
}

#[test]
fn a_chain_that_leads_nowhere_or_in_circles_ends() {
    let dir = Dir::new("index-circle");
    let mut cache = FileCache::default();
    let mut first = index(&dir, SHAPE);
    for number in 0..5 {
        first.put(&mut cache, &[hash("T#a")], number, 1000);
    }
    write_all(&mut first, &mut cache, true);
    let path = first.files[0].path.clone();
    let open = RealDisk.open(&path).unwrap();
    for (entry, previous) in [(5u64, 5i32), (4, 5), (3, -1), (2, 400_000)] {
        let at = 440 + entry * 20 + 16;
        open.write_at(&previous.to_be_bytes(), at).unwrap();
        let mut cache = FileCache::default();
        let mut again = index(&dir, SHAPE);
        assert!(again.load(&mut cache).unwrap());
        let found = again
            .find(&mut cache, hash("T#a"), 100, 0, i64::MAX)
            .unwrap();
        assert!(!found.is_empty() && found.len() <= 5);
    }
}

#[test]
fn files_of_another_shape_are_recognised() {
    let dir = Dir::new("index-shape");
    let mut cache = FileCache::default();
    let mut first = index(&dir, SHAPE);
    first.put(&mut cache, &[1], 0, 1000);
    write_all(&mut first, &mut cache, true);
    let mut other = index(
        &dir,
        Shape {
            slot_count: 100,
            entry_count: 401,
        },
    );
    assert!(!other.load(&mut cache).unwrap());
}
