//! Checksums of whole records: no flipped bit of a record reaches a reader, and nothing that happens to the
//! checksums hides a good record.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use common::stored::*;
use common::*;
use rmqlog::check_store::StoreCheck;
use rmqlog::disk::RealDisk;
use rmqlog::read::Boundary;
use rmqlog::{Engine, Settings, StoreError};

type Change<'a> = (&'a str, &'a dyn Fn(&mut Vec<u8>));
type Key = (String, i32, i64);

fn all_of(stored: &[Stored]) -> BTreeMap<Key, Vec<u8>> {
    let entry = |each: &Stored| {
        let key = (each.topic.to_string(), each.queue_id, each.queue_offset);
        (key, each.bytes.clone())
    };
    stored.iter().map(entry).collect()
}

fn without(stored: &[Stored], bad: usize) -> BTreeMap<Key, Vec<u8>> {
    let mut good = all_of(stored);
    let bad = &stored[bad];
    good.remove(&(bad.topic.to_string(), bad.queue_id, bad.queue_offset));
    good
}

fn crc_path(dir: &Dir, base: u64) -> PathBuf {
    dir.path(&format!("pyromq/crc/{base:020}"))
}

fn change_crcs(dir: &Dir, base: u64, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(crc_path(dir, base)).unwrap();
    change(&mut bytes);
    fs::write(crc_path(dir, base), bytes).unwrap();
}

/// Makes the store look as if Apache's broker had stopped last.
fn was_apaches(dir: &Dir) {
    let path = dir.path("checkpoint");
    let mut bytes = fs::read(&path).unwrap();
    bytes[32..40].fill(0); // confirmPhyOffset
    fs::write(path, bytes).unwrap();
}

fn findings(dir: &Dir) -> Vec<(String, u64)> {
    let mut check = StoreCheck::new(Arc::new(RealDisk), &settings(dir)).unwrap();
    while !check.is_at_end() {
        check.step(1 << 20).unwrap();
    }
    let report = check.finish().unwrap();
    report
        .findings
        .iter()
        .map(|finding| (finding.kind.to_string(), finding.count))
        .collect()
}

fn expected(findings: &[(&str, u64)]) -> Vec<(String, u64)> {
    let owned = |&(kind, count): &(&str, u64)| (kind.to_string(), count);
    findings.iter().map(owned).collect()
}

/// A store of several segments, stopped cleanly.
fn prepared(count: usize) -> (Dir, Vec<Stored>) {
    let dir = Dir::new();
    let engine = open(&dir);
    let stored = store(&engine, count);
    engine.close().unwrap();
    (dir, stored)
}

#[test]
fn a_flipped_bit_anywhere_in_a_record_is_noticed_and_counted() {
    let (dir, stored) = prepared(30);
    let victim = 4;
    for at in 0..stored[victim].bytes.len() as u64 {
        for how in ["stopped", "killed", "without queues"] {
            let copy = dir.copy();
            if how != "stopped" {
                kill(open(&copy));
            }
            if how == "without queues" {
                fs::remove_dir_all(copy.path("consumequeue")).unwrap();
            }
            change(&copy, stored[victim].log.start + at, |bytes| {
                bytes[0] ^= 1 << (at % 8);
            });
            let engine = open(&copy);
            assert!(
                served(&engine) == without(&stored, victim),
                "byte {at} {how}"
            );
            assert_eq!(engine.damage().0, 1, "byte {at} {how}");
            let log_offset = stored[victim].log.start as i64;
            assert_eq!(engine.record_at(log_offset).unwrap(), None);
            kill(engine);
        }
    }
}

/// Bytes of all files of checksums together, without their heads.
fn entries_size(dir: &Dir) -> u64 {
    let files = fs::read_dir(dir.path("pyromq/crc"));
    let sizes = files.into_iter().flatten().map(|file| {
        let size = file.unwrap().metadata().unwrap().len();
        size.saturating_sub(4096)
    });
    sizes.sum()
}

#[test]
fn a_flipped_bit_is_noticed_before_the_checksum_is_in_its_file() {
    let dir = Dir::new();
    let engine = open(&dir);
    let stored = store(&engine, 40);
    let begins = |each: &&Stored| each.log.start < SEGMENT;
    let in_first = stored.iter().filter(begins).count();
    // Those of the segment that is full are in its file.
    assert!((10..36).contains(&in_first));
    assert_eq!(entries_size(&dir), 12 * (in_first as u64 + 1));
    for victim in [39, in_first, in_first + 2, in_first - 1] {
        let before = served(&engine);
        change(&dir, stored[victim].log.end - 2, |bytes| bytes[0] ^= 1);
        let now = served(&engine);
        assert_eq!(now.len(), before.len() - 1, "{victim}");
        assert!(now.iter().all(|(key, record)| before[key] == *record));
    }
    assert_eq!(engine.damage().0, 4);
    kill(engine);
}

#[test]
fn what_a_kill_takes_of_the_checksums_the_next_start_makes_anew() {
    let dir = Dir::new();
    let engine = open(&dir);
    let stored = store(&engine, 30);
    assert!(stored[29].log.start > SEGMENT && stored[29].log.end < 2 * SEGMENT);
    kill(engine);
    // As if it had come before the last entries of either segment were written.
    change_crcs(&dir, 0, |bytes| bytes.truncate(4096 + 12));
    drop(fs::remove_file(crc_path(&dir, SEGMENT)));
    kill(open(&dir));
    for victim in 0..30 {
        let copy = dir.copy();
        change(&copy, stored[victim].log.end - 2, |bytes| bytes[0] ^= 1);
        assert!(served(&open(&copy)) == without(&stored, victim), "{victim}");
    }
}

#[test]
fn checksums_are_written_many_at_a_time_and_when_a_segment_is_full() {
    let big = |dir: &Dir| Settings {
        segment_size: 8 << 20,
        ..settings(dir)
    };
    let dir = Dir::new();
    let engine = try_open(big(&dir)).unwrap();
    let turn = |count: usize| {
        for _ in 0..count {
            append(&engine, "Topic", 0, b"x");
        }
        engine.write().unwrap();
    };
    turn(4079);
    turn(1);
    assert_eq!(entries_size(&dir), 0);
    turn(1); // now 4,080 are in the log
    assert_eq!(entries_size(&dir), 4080 * 12);
    turn(10);
    assert_eq!(entries_size(&dir), 4080 * 12);
    engine.close().unwrap();
    assert_eq!(entries_size(&dir), 4091 * 12);

    let dir = Dir::new();
    let engine = open(&dir);
    let stored = store(&engine, 30);
    let turns = stored.iter().map(|each| each.log.start / SEGMENT);
    let full = turns.filter(|&number| number < stored[28].log.start / SEGMENT);
    assert!(entries_size(&dir) >= 12 * full.count() as u64);
    assert!(entries_size(&dir) > 0);
    kill(engine);
}

#[test]
fn searches_by_key_and_time_give_out_nothing_that_is_damaged() {
    let (dir, stored) = prepared(30);
    let victim = &stored[4];
    let (topic, id) = (victim.topic, victim.queue_id);
    let key_at = victim.bytes.len() - 12;
    let time_at = 56 + 3; // a year of the store time
    for at in [key_at as u64, time_at] {
        let copy = dir.copy();
        change(&copy, victim.log.start + at, |bytes| bytes[0] ^= 1);
        let engine = open(&copy);
        let time = engine.store_time(topic, id, victim.queue_offset).unwrap();
        assert_eq!(time, -1);
        let next = engine.store_time(topic, id, victim.queue_offset + 1);
        let found = engine.offset_by_time(topic, id, next.unwrap(), Boundary::Lower);
        assert!((victim.queue_offset..=victim.queue_offset + 1).contains(&found.unwrap()));
        for number in 0..5 {
            let key = format!("key{number}");
            let (records, _, _) = engine.query_key(topic, &key, 1000, 0, i64::MAX).unwrap();
            for record in records {
                assert!(stored.iter().any(|each| each.bytes == record));
            }
        }
        assert_eq!(engine.damage().0, 1);
        assert_eq!(engine.take_damage_news().len(), 1);
    }
}

#[test]
fn nothing_that_happens_to_the_checksums_hides_a_record() {
    let (dir, stored) = prepared(60);
    let size = fs::read(crc_path(&dir, 0)).unwrap().len();
    assert!(size > 4096 + 12 * 10);
    let places = (0..28).chain(64..148).chain(4096..size);
    for at in places {
        let copy = dir.copy();
        change_crcs(&copy, 0, |bytes| bytes[at] ^= 1 << (at % 8));
        for how in ["stopped", "killed"] {
            let engine = open(&copy);
            assert!(served(&engine) == all_of(&stored), "byte {at} {how}");
            assert_eq!(engine.damage().0, 0, "byte {at} {how}");
            kill(engine);
        }
    }
    let others = fs::read(crc_path(&dir, SEGMENT)).unwrap();
    let changes: [Change<'_>; 5] = [
        ("empty", &|bytes| bytes.clear()),
        ("cut", &|bytes| bytes.truncate(4096 + 30)),
        ("zeros", &|bytes| bytes.fill(0)),
        ("rubbish", &|bytes| bytes.fill(0x5A)),
        ("another segment's", &|bytes| bytes.clone_from(&others)),
    ];
    for (what, change) in changes {
        let copy = dir.copy();
        change_crcs(&copy, 0, |bytes| change(bytes));
        for _ in 0..2 {
            let engine = open(&copy);
            assert!(served(&engine) == all_of(&stored), "{what}");
            kill(engine);
        }
    }
    let copy = dir.copy();
    fs::remove_dir_all(copy.path("pyromq/crc")).unwrap();
    fs::write(copy.path("pyromq/crc"), b"no directory").unwrap();
    let engine = open(&copy);
    assert!(served(&engine) == all_of(&stored));
    append(&engine, "Topic", 0, b"new");
    engine.write().unwrap();
    assert_eq!(served(&engine).len(), stored.len() + 1);
    let news = engine.take_damage_news();
    assert!(news[0].contains("no more checksums"), "{news:?}");
}

#[test]
fn an_older_store_gets_checksums_for_its_newest_segment_and_what_comes() {
    let (dir, stored) = prepared(60);
    fs::remove_dir_all(dir.path("pyromq/crc")).unwrap();
    let engine = open(&dir);
    assert!(served(&engine) == all_of(&stored));
    engine.close().unwrap();
    let last = &stored[59];
    assert!(crc_path(&dir, last.log.start - last.log.start % SEGMENT).exists());
    assert!(!crc_path(&dir, 0).exists());
    change(&dir, last.log.end - 2, |bytes| bytes[0] ^= 1);
    let engine = open(&dir);
    assert!(served(&engine) == without(&stored, 59));
}

/// The log's end is another one than the checksums know: records of their places come anew.
fn cut_log(dir: &Dir, from: u64) {
    let base = from - from % SEGMENT;
    change(dir, from, |bytes| bytes.fill(0));
    for base in (base + SEGMENT..base + 9 * SEGMENT).step_by(SEGMENT as usize) {
        drop(fs::remove_file(segment_path(dir, base)));
    }
}

#[test]
fn checksums_do_not_outlive_records_that_were_cut_off() {
    // What came after the first 20 was never synced, and a power cut took it, but not the checksums.
    let dir = Dir::new();
    let engine = open(&dir);
    let stored = store(&engine, 20);
    let before = dir.copy();
    store(&engine, 40);
    engine.close().unwrap();
    let copy = before.copy();
    drop(fs::remove_dir_all(copy.path("pyromq/crc")));
    copy_tree(&dir.path("pyromq/crc"), &copy.path("pyromq/crc"));
    let engine = open(&copy);
    assert!(served(&engine) == all_of(&stored));
    for number in 0..40 {
        append(&engine, "Topic", 1, format!("other {number}").as_bytes());
    }
    engine.write().unwrap();
    let now = served(&engine);
    assert_eq!(now.len(), 60);
    kill(engine);
    for _ in 0..2 {
        kill(open(&copy));
        let engine = open(&copy);
        assert!(served(&engine) == now);
        assert_eq!(engine.damage().0, 0);
        kill(engine);
    }
}

#[test]
fn where_apache_cut_the_log_and_wrote_anew_its_records_are_served_and_guarded() {
    let (dir, stored) = prepared(60);
    let cut = stored[20].log.start;
    // A broker that knows no checksums writes as many records of the same sizes.
    let crcs = dir.copy();
    fs::remove_dir_all(dir.path("consumequeue")).unwrap();
    fs::remove_dir_all(dir.path("index")).unwrap();
    for name in ["pyromq", "checkpoint"] {
        let path = dir.path(name);
        drop(fs::remove_dir_all(&path));
        drop(fs::remove_file(&path));
    }
    cut_log(&dir, cut);
    let engine = open(&dir);
    assert_eq!(served(&engine).len(), 20);
    let mut wanted = served(&engine);
    for each in &stored[20..40] {
        let body = each.bytes[88..].to_vec();
        let size = u32::from_be_bytes(each.bytes[84..88].try_into().unwrap()) as usize;
        let mut body = body[..size].to_vec();
        body.reverse();
        let place = append(&engine, each.topic, each.queue_id, &body);
        engine.write().unwrap();
        assert_eq!(place.log_offset, each.log.start);
        let record = engine.record_at(place.log_offset as i64).unwrap();
        let key = (each.topic.to_string(), each.queue_id, place.queue_offset);
        wanted.insert(key, record.unwrap());
    }
    engine.close().unwrap();
    fs::remove_dir_all(dir.path("pyromq")).unwrap();
    copy_tree(&crcs.path("pyromq"), &dir.path("pyromq"));
    was_apaches(&dir);
    for _ in 0..3 {
        let engine = open(&dir);
        assert!(served(&engine) == wanted);
        assert_eq!(engine.damage().0, 0);
        kill(engine);
    }
    // From now on its records have checksums, too: those of the newest segment.
    change(&dir, stored[39].log.end - 2, |bytes| bytes[0] ^= 1);
    let engine = open(&dir);
    assert_eq!(served(&engine).len(), wanted.len() - 1);
}

#[test]
fn behind_apaches_records_ours_are_guarded_again() {
    let (dir, stored) = prepared(20);
    // Apache appended: no entries for the last three.
    change_crcs(&dir, 0, |bytes| {
        let size = bytes.len() - 3 * 12;
        bytes.truncate(size);
    });
    was_apaches(&dir);
    let engine = open(&dir);
    assert!(served(&engine) == all_of(&stored));
    let place = append(&engine, "Topic", 0, b"ours");
    engine.write().unwrap();
    engine.close().unwrap();
    let all = served(&open(&dir)).len();
    for at in [stored[18].log.end - 2, place.end - 2] {
        let copy = dir.copy();
        change(&copy, at, |bytes| bytes[0] ^= 1);
        assert_eq!(served(&open(&copy)).len(), all - 1, "{at}");
    }
}

fn refused(dir: &Dir) -> String {
    match try_open(settings(dir)).err() {
        Some(StoreError::Damaged(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn checksums_of_a_newer_version_are_refused_by_name() {
    let (dir, stored) = prepared(10);
    change_crcs(&dir, 0, |bytes| {
        bytes[8..16].copy_from_slice(&[0, 0, 0, 9, 0, 0, 0, 7]);
        let crc = crc32c::crc32c(&bytes[..24]);
        bytes[24..28].copy_from_slice(&crc.to_be_bytes());
    });
    let before = tree(&dir.0);
    let text = refused(&dir);
    assert!(
        text.contains(
            "00000000000000000000: written by a newer version (format 9, readable from version 7)"
        ),
        "{text}"
    );
    assert_eq!(tree(&dir.0), before);
    // A flipped bit is no newer version.
    change_crcs(&dir, 0, |bytes| bytes[15] = 3);
    assert!(served(&open(&dir)) == all_of(&stored));
}

fn wait_for_removals(engine: &Engine) {
    let start = std::time::Instant::now();
    while engine.removals_left().0 > 0 {
        assert!(start.elapsed() < Duration::from_secs(20));
        std::thread::yield_now();
    }
}

#[test]
fn checksums_go_with_their_segment() {
    let (dir, stored) = prepared(60);
    let engine = open(&dir);
    let bases = |dir: &Dir| fs::read_dir(dir.path("pyromq/crc")).unwrap().count();
    let before = bases(&dir);
    assert!(before > 2);
    assert!(engine.remove_segment(0).unwrap());
    wait_for_removals(&engine);
    assert!(!crc_path(&dir, 0).exists());
    assert_eq!(bases(&dir), before - 1);
    engine.close().unwrap();
    // One that a kill left goes at the next start.
    fs::copy(crc_path(&dir, SEGMENT), crc_path(&dir, 0)).unwrap();
    let engine = open(&dir);
    assert!(!crc_path(&dir, 0).exists());
    assert!(served(&engine).len() < stored.len());
}

#[test]
fn a_check_reads_the_chain_of_digests_and_tells_a_bad_record_from_a_bad_checksum() {
    let (dir, stored) = prepared(60);
    assert_eq!(findings(&dir), []);
    // A record.
    let copy = dir.copy();
    change(&copy, stored[4].log.end - 2, |bytes| bytes[0] ^= 1);
    let mut check = StoreCheck::new(Arc::new(RealDisk), &settings(&copy)).unwrap();
    while !check.is_at_end() {
        check.step(1 << 20).unwrap();
    }
    let report = check.finish().unwrap();
    assert_eq!(report.regions.len(), 1);
    assert_eq!(report.regions[0].from, stored[4].log.start);
    assert_eq!(report.regions[0].to, stored[4].log.end);
    // An entry.
    let copy = dir.copy();
    change_crcs(&copy, 0, |bytes| bytes[4096 + 5] ^= 1);
    assert_eq!(
        findings(&copy),
        expected(&[("crc-damaged", 1), ("crc-missing", 1)])
    );
    // An entry that is whole, but not the one that was sealed.
    let copy = dir.copy();
    change_crcs(&copy, 0, |bytes| {
        let count = (bytes.len() - 4096) / 12;
        bytes.truncate(4096 + (count - 1) * 12);
    });
    assert_eq!(
        findings(&copy),
        expected(&[("crc-digest", 0), ("crc-missing", 1)])
    );
    // A file of an earlier time, complete in itself: the next one's seal knows better.
    let copy = dir.copy();
    change_crcs(&copy, 0, |bytes| {
        let count = (bytes.len() as u64 - 4096) / 12 - 1;
        bytes.truncate(4096 + 12 * count as usize);
        bytes[64..148].fill(0);
    });
    let disk = RealDisk;
    let root = copy.path("pyromq/crc");
    let sealed = rmqlog::crc_log::seal(&disk, &root, 0, SEGMENT);
    assert!(sealed.is_some());
    assert_eq!(
        findings(&copy),
        expected(&[("crc-digest", 0), ("crc-missing", 1)])
    );
    // One without a segment.
    let copy = dir.copy();
    fs::copy(crc_path(&copy, 0), crc_path(&copy, 99 * SEGMENT)).unwrap();
    assert_eq!(findings(&copy), expected(&[("crc-stray", 0)]));
    // None at all.
    let copy = dir.copy();
    fs::remove_file(crc_path(&copy, SEGMENT)).unwrap();
    let count = stored
        .iter()
        .filter(|each| each.log.start / SEGMENT == 1)
        .count();
    assert_eq!(findings(&copy), expected(&[("crc-missing", count as u64)]));
}

#[test]
fn checksums_made_anew_keep_what_they_said_of_bad_records() {
    let (dir, stored) = prepared(60);
    change(&dir, stored[4].log.end - 2, |bytes| bytes[0] ^= 1);
    fs::remove_file(crc_path(&dir, SEGMENT)).unwrap();
    change_crcs(&dir, 0, |bytes| bytes[4096 + 5] ^= 1);
    let into = dir.path("pyromq/rebuilt");
    let disk = Arc::new(RealDisk);
    let count = rmqlog::crc_check::rebuild(disk, &dir.0, SEGMENT, &into).unwrap();
    assert_eq!(count, 60);
    fs::remove_dir_all(dir.path("pyromq/crc")).unwrap();
    fs::rename(&into, dir.path("pyromq/crc")).unwrap();
    let of_files = |found: &(String, u64)| found.0.starts_with("crc");
    assert_eq!(findings(&dir).iter().find(|found| of_files(found)), None);
    assert!(served(&open(&dir)) == without(&stored, 4));
    for victim in [0, 30] {
        let copy = dir.copy();
        change(&copy, stored[victim].log.end - 2, |bytes| bytes[0] ^= 1);
        assert_eq!(served(&open(&copy)).len(), 58, "{victim}");
    }
}
