#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;
use crate::disk::RealDisk;
use crate::queue_unit::topic_problem;

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

fn table(dir: &Dir) -> QueueTable {
    QueueTable::new(Arc::new(RealDisk), dir.0.clone(), 5 * UNIT_SIZE as u64)
}

fn unit(number: i64) -> Unit {
    Unit {
        log_offset: number as u64 * 100,
        size: 100,
        tag: number,
    }
}

fn persist(table: &mut QueueTable, cache: &mut FileCache) {
    for number in table.take_dirty() {
        let upto = table.begin_write(number);
        while let Some(mut write) = table.write_of(cache, number, upto, 60) {
            let mut created = Vec::new();
            let file = write.open(&RealDisk, table.file_size(), &mut created);
            file.unwrap().write_at(&write.bytes, write.at).unwrap();
            table.were_created(created);
            table.was_written(cache, &write);
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn units_have_the_bytes_apache_gives_them() {
    let captured = "000000000000000000000117000000000027a807";
    let tagged = Unit {
        log_offset: 0,
        size: 279,
        tag: 2_598_919,
    };
    assert_eq!(hex(&tagged.encode()), captured);
    let delayed = Unit {
        log_offset: 0x36f,
        size: 0x137,
        tag: 0x1a1_fb98_c770,
    };
    assert_eq!(
        hex(&delayed.encode()),
        "000000000000036f00000137000001a1fb98c770"
    );
    assert_eq!(Unit::decode(&delayed.encode()), delayed);
    assert_eq!(
        hex(&Unit::BLANK.encode()),
        "00000000000000007fffffff0000000000000000"
    );
    assert!(!Unit::decode(&[0; 20]).is_written());
}

#[test]
fn reads_join_files_and_memory() {
    let dir = Dir::new("queue-join");
    let (mut table, mut cache) = (table(&dir), FileCache::default());
    let queue = table.find_or_add("T", 3);
    for number in 0..23 {
        table.push(queue, number, unit(number));
        if number == 11 {
            persist(&mut table, &mut cache);
            assert_eq!(table.tails_size(), 0);
        }
    }
    assert_eq!(table.tails_size(), 11 * UNIT_SIZE);
    let mut out = Vec::new();
    for from in 0..=23 {
        for limit in [1, 4, 30] {
            table
                .read_units(&mut cache, queue, from, limit, &mut out)
                .unwrap();
            let expected: Vec<u8> = (from..23.min(from + limit as i64))
                .flat_map(|n| unit(n).encode())
                .collect();
            assert_eq!(out, expected);
            for _ in 0..2 {
                table
                    .read_units_ahead(&mut cache, queue, from, limit, &mut out)
                    .unwrap();
                assert_eq!(out, expected, "{from} {limit}");
            }
        }
    }
    persist(&mut table, &mut cache);
    let path = dir.0.join("T/3/00000000000000000200");
    let content = std::fs::read(path).unwrap();
    assert_eq!(content.len(), 100);
    assert_eq!(content[0..20], unit(10).encode());
}

#[test]
fn units_read_ahead_need_no_file_and_end_where_the_files_end() {
    let dir = Dir::new("queue-ahead");
    let (mut table, mut cache) = (table(&dir), FileCache::default());
    let queue = table.find_or_add("T", 0);
    let mut read = |table: &QueueTable, from, limit, expected: std::ops::Range<i64>| {
        let mut out = Vec::new();
        table
            .read_units_ahead(&mut cache, queue, from, limit, &mut out)
            .unwrap();
        let expected: Vec<u8> = expected.flat_map(|n| unit(n).encode()).collect();
        assert_eq!(out, expected, "{from} {limit}");
    };
    let mut other = FileCache::default();
    for number in 0..3 {
        table.push(queue, number, unit(number));
    }
    persist(&mut table, &mut other);
    read(&table, 0, 2, 0..2);
    for number in 3..5 {
        table.push(queue, number, unit(number));
    }
    read(&table, 2, 2, 2..4);
    persist(&mut table, &mut other);
    read(&table, 2, 2, 2..4);
    let path = dir.0.join("T/0/00000000000000000000");
    std::fs::write(&path, [0xFF; 100]).unwrap();
    read(&table, 3, 1, 3..4);
    read(&table, 4, 9, 4..5);
}

#[test]
fn a_queue_that_begins_late_fills_its_first_file_before_it() {
    let dir = Dir::new("queue-late");
    let (mut table, mut cache) = (table(&dir), FileCache::default());
    let queue = table.find_or_add("T", 0);
    table.push(queue, 12, unit(12));
    assert_eq!((table.queue(queue).min, table.queue(queue).count), (12, 13));
    persist(&mut table, &mut cache);
    let content = std::fs::read(dir.0.join("T/0/00000000000000000200")).unwrap();
    assert_eq!(content[0..20], Unit::BLANK.encode());
    assert_eq!(content[20..40], Unit::BLANK.encode());
    assert_eq!(content[40..60], unit(12).encode());
    assert!(!dir.0.join("T/0/00000000000000000000").exists());
}

#[test]
fn lost_messages_among_others_do_not_hide_what_is_before_them() {
    let dir = Dir::new("queue-lost");
    let (mut table, mut cache) = (table(&dir), FileCache::default());
    let queue = table.find_or_add("T", 0);
    // Places 4 and 5 are lost; halving looks at 4 first, and then at 2.
    for place in 0..4 {
        table.push(queue, place, unit(place));
    }
    table.fill(queue, 6, unit(3).log_offset);
    for place in 6..9 {
        table.push(queue, place, unit(place));
    }
    let log_min = unit(1).log_offset;
    table.correct_min(&mut cache, queue, log_min).unwrap();
    assert_eq!(table.queue(queue).min, 1);
    // Where they would be the first, the queue begins behind them.
    let log_min = unit(3).log_offset;
    table.correct_min(&mut cache, queue, log_min).unwrap();
    assert_eq!(table.queue(queue).min, 3);
    let log_min = unit(6).log_offset - 1;
    table.correct_min(&mut cache, queue, log_min).unwrap();
    assert_eq!(table.queue(queue).min, 6);
}

#[test]
fn units_come_once_and_holes_are_filled() {
    let dir = Dir::new("queue-holes");
    let (mut table, mut cache) = (table(&dir), FileCache::default());
    let queue = table.find_or_add("T", 0);
    table.push(queue, 0, unit(0));
    table.push(queue, 0, unit(7));
    table.push(queue, 3, unit(3));
    assert_eq!(table.queue(queue).count, 4);
    assert_eq!(table.unit(&mut cache, queue, 0).unwrap(), unit(0));
    assert!(table.unit(&mut cache, queue, 2).unwrap().is_blank());
    assert_eq!(table.unit(&mut cache, queue, 3).unwrap(), unit(3));
}

#[test]
fn cutting_leaves_nothing_behind_the_cut() {
    for count in 0..=12 {
        for persisted in [0, 7, 12] {
            let dir = Dir::new("queue-cut");
            let (mut table, mut cache) = (table(&dir), FileCache::default());
            let queue = table.find_or_add("T", 0);
            for number in 0..12 {
                if number == persisted {
                    persist(&mut table, &mut cache);
                }
                table.push(queue, number, unit(number));
            }
            if persisted == 12 {
                persist(&mut table, &mut cache);
            }
            let mut out = Vec::new();
            for from in 0..12 {
                table
                    .read_units_ahead(&mut cache, queue, from, 3, &mut out)
                    .unwrap();
            }
            table.cut(&mut cache, queue, count).unwrap();
            assert_eq!(table.queue(queue).count, count);
            for number in count..14 {
                table.push(queue, number, unit(number + 100));
            }
            persist(&mut table, &mut cache);
            assert_eq!(table.tails_size(), 0);
            let mut ahead = Vec::new();
            for from in (0..14).step_by(2) {
                table
                    .read_units_ahead(&mut cache, queue, from, 2, &mut out)
                    .unwrap();
                ahead.extend_from_slice(&out);
            }
            table
                .read_units(&mut cache, queue, 0, 100, &mut out)
                .unwrap();
            assert_eq!(out, ahead, "{count} {persisted}");
            let expected: Vec<u8> = (0..count)
                .map(unit)
                .chain((count..14).map(|number| unit(number + 100)))
                .flat_map(|unit| unit.encode())
                .collect();
            assert_eq!(out, expected, "{count} {persisted}");
        }
    }
}

#[test]
fn dropped_queues_leave_and_their_numbers_are_not_given_again() {
    let dir = Dir::new("queue-drop");
    let (mut table, mut cache) = (table(&dir), FileCache::default());
    let old = table.find_or_add("T", 0);
    table.push(old, 0, unit(0));
    table.arrived(old);
    persist(&mut table, &mut cache);
    table.push(old, 1, unit(1));
    assert_eq!(table.drop_topic("T"), [old]);
    table.remove_files(&mut cache, old).unwrap();
    assert!(!dir.0.join("T").exists());
    assert_eq!(table.tails_size(), 0);
    assert!(table.take_arrivals().is_empty());
    assert!(table.write_of(&mut cache, old, i64::MAX, 1000).is_none());
    let new = table.find_or_add("T", 0);
    assert_ne!(new, old);
    assert_eq!(table.queue(new).next, 0);
    assert!(table.drop_topic("none").is_empty());
}

#[test]
fn topics_that_are_no_directory_names_are_refused() {
    for bad in ["", ".", "..", "a/b", "/etc", "a\0b", &"x".repeat(256)] {
        assert!(topic_problem(bad).is_some(), "{bad:?}");
    }
    for good in ["T", "%RETRY%g", "a..b", &"x".repeat(255), "組"] {
        assert!(topic_problem(good).is_none(), "{good:?}");
    }
}
