//! Logs damaged at random: what is good is served, what is bad never is, and no place is given twice.
#![allow(clippy::unwrap_used, clippy::panic)]
#![allow(clippy::single_range_in_vec_init)] // lists of log ranges, some with one

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::sync::Arc;

use common::stored::*;
use common::*;
use rmqlog::crc_file::CrcReader;
use rmqlog::disk::RealDisk;

struct Random(u64);

impl Random {
    fn below(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below.max(1) as u64) as usize
    }
}

fn number_of(name: &str, otherwise: u64) -> u64 {
    let value = std::env::var(name).ok();
    value.map_or(otherwise, |value| value.parse().unwrap())
}

/// Whether the bytes differ at most where no body checksum and no other knowledge tells what was there:
/// flags, times, hosts, counts and properties. So much may be where a record's entry is damaged, too.
fn differ_unnoticeably(found: &[u8], stored: &[u8]) -> bool {
    let body_size = u32::from_be_bytes(stored[84..88].try_into().unwrap()) as usize;
    let topic_size = stored[88 + body_size] as usize;
    let properties_at = 88 + body_size + 1 + topic_size + 2;
    let is_free =
        |at: usize| (16..20).contains(&at) || (36..84).contains(&at) || at >= properties_at;
    found.len() == stored.len() && (0..found.len()).all(|at| found[at] == stored[at] || is_free(at))
}

/// Where in a record a flipped bit is noticed without the whole record's checksum: sizes, magic, checksum,
/// physical offset, body. Elsewhere it could make the record another queue's, once a rebuild comes by it.
fn checked_places(record: &[u8]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..12).chain(28..36).collect();
    let body_size = u32::from_be_bytes(record[84..88].try_into().unwrap()) as usize;
    places.extend(84..88 + body_size + 1); // with the topic's size
    let topic_size = record[88 + body_size] as usize;
    let properties_size_at = 88 + body_size + 1 + topic_size;
    places.extend(properties_size_at..properties_size_at + 2);
    places
}

/// Damages the log somewhere, any bit of records before `guarded_to`; answers which log range may have other bytes now.
fn damage(
    dir: &Dir,
    stored: &[Stored],
    guarded_to: u64,
    random: &mut Random,
) -> (String, Vec<Range<u64>>) {
    let victim = &stored[random.below(stored.len())];
    let start = victim.log.start;
    let base = start - start % SEGMENT;
    let kind = random.below(7);
    match kind {
        0 => {
            let places = if start < guarded_to {
                (0..victim.bytes.len()).collect()
            } else {
                checked_places(&victim.bytes)
            };
            let at = start + places[random.below(places.len())] as u64;
            let bit = random.below(8);
            change(dir, at, |bytes| bytes[0] ^= 1 << bit);
            (format!("bit {bit} at {at}"), vec![at..at + 1])
        }
        1 | 2 => {
            let from = start + random.below(victim.bytes.len()) as u64;
            let to = (from + 1 + random.below(700) as u64).min(base + SEGMENT);
            let value = if kind == 1 {
                0
            } else {
                random.below(256) as u8
            };
            let size = (to - from) as usize;
            change(dir, from, |bytes| bytes[..size].fill(value));
            (format!("{value} at {from} to {to}"), vec![from..to])
        }
        3 => {
            let length = random.below(SEGMENT as usize) as u64;
            if segment_path(dir, base).exists() {
                let file = fs::OpenOptions::new()
                    .write(true)
                    .open(segment_path(dir, base))
                    .unwrap();
                file.set_len(length).unwrap();
                file.set_len(SEGMENT).unwrap();
                if random.below(2) == 0 {
                    file.set_len(length).unwrap();
                }
            }
            let range = base + length..base + SEGMENT;
            (format!("cut at {}", range.start), vec![range])
        }
        4 => {
            let other = &stored[random.below(stored.len())];
            let size = victim.bytes.len().min(other.bytes.len());
            let ranges: Vec<Range<u64>> = [start, other.log.start]
                .map(|from| from..from + size as u64)
                .into();
            for (range, bytes) in ranges.iter().zip([&other.bytes, &victim.bytes]) {
                change(dir, range.start, |place| {
                    place[..size].copy_from_slice(&bytes[..size]);
                });
            }
            (format!("{start} swapped with {}", other.log.start), ranges)
        }
        5 if base > 0 => {
            drop(fs::remove_file(segment_path(dir, base)));
            (
                format!("segment {base} removed"),
                vec![base..base + SEGMENT],
            )
        }
        _ => {
            let path = segment_path(dir, base);
            if let Ok(mut bytes) = fs::read(&path) {
                bytes.extend([0xA5; 100]);
                fs::write(&path, bytes).unwrap();
            }
            (format!("segment {base} grew"), vec![])
        }
    }
}

/// Damages the checksums of whole records somewhere.
fn damage_crcs(dir: &Dir, random: &mut Random) -> String {
    let mut paths: Vec<_> = fs::read_dir(dir.path("pyromq/crc"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let path = &paths[random.below(paths.len())];
    let mut bytes = fs::read(path).unwrap();
    let at = random.below(bytes.len());
    let text = match random.below(6) {
        0 | 1 => {
            bytes[at] ^= 1 << random.below(8);
            "flipped"
        }
        2 => {
            let end = (at + 1 + random.below(300)).min(bytes.len());
            bytes[at..end].fill(if random.below(2) == 0 { 0 } else { 0xA5 });
            "filled"
        }
        3 => {
            bytes.truncate(at);
            "cut"
        }
        4 => {
            bytes.extend(vec![random.below(256) as u8; 1 + random.below(100)]);
            "grown"
        }
        _ => {
            bytes = fs::read(&paths[random.below(paths.len())]).unwrap();
            "another's"
        }
    };
    match random.below(6) {
        0 => fs::remove_file(path).unwrap(),
        1 => fs::remove_dir_all(dir.path("pyromq/crc")).unwrap(),
        _ => fs::write(path, bytes).unwrap(),
    }
    format!(", checksums {text} at {at} of {}", path.display())
}

/// `RMQLOG_DAMAGE_ROUNDS` and `RMQLOG_DAMAGE_SEED` make it another campaign; `make damage` does.
#[test]
fn whatever_is_damaged_the_rest_is_served_and_no_place_is_given_again() {
    let rounds = number_of("RMQLOG_DAMAGE_ROUNDS", 300);
    let first_seed = number_of("RMQLOG_DAMAGE_SEED", 1);
    let prepared: Vec<_> = [true, false]
        .into_iter()
        .map(|is_synced| {
            let dir = Dir::new();
            let engine = open(&dir);
            let stored = store(&engine, 80);
            let max = maxima(&engine);
            if is_synced {
                engine.close().unwrap();
            } else {
                kill(engine);
            }
            // A kill takes the checksums that were not written yet.
            let mut crcs = CrcReader::new(Arc::new(RealDisk), &dir.0);
            let mut is_guarded = |each: &&Stored| {
                let at = each.log.start;
                crcs.expected(at - at % SEGMENT, at).is_some()
            };
            let guarded = stored.iter().filter(&mut is_guarded).count();
            assert!(guarded >= if is_synced { 80 } else { 40 });
            let unguarded_from = stored.get(guarded).map_or(u64::MAX, |each| each.log.start);
            (dir, stored, max, is_synced, unguarded_from)
        })
        .collect();
    let mut holes = 0;
    for seed in first_seed..first_seed + rounds {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let (dir, stored, max, is_synced, unguarded_from) = &prepared[random.below(2)];
        let copy = dir.copy();
        let mut what = format!("seed {seed}, synced {is_synced}");
        if random.below(2) == 0 {
            fs::write(copy.path("abort"), b"1").unwrap();
            what.push_str(", killed");
        }
        if random.below(3) == 0 {
            drop(fs::remove_dir_all(copy.path("consumequeue")));
            what.push_str(", no queues");
        }
        let are_crcs_damaged = random.below(4) == 0;
        if are_crcs_damaged {
            what.push_str(&damage_crcs(&copy, &mut random));
        }
        let mut ranges = Vec::new();
        for _ in 0..=random.below(3) {
            let guarded_to = if are_crcs_damaged { 0 } else { *unguarded_from };
            let (text, changed) = damage(&copy, stored, guarded_to, &mut random);
            what = format!("{what}, {text}");
            ranges.extend(changed);
        }
        let is_touched = |each: &Stored| {
            ranges
                .iter()
                .any(|range| range.start < each.log.end && each.log.start < range.end)
        };
        let good: BTreeSet<(String, i32, i64)> = stored
            .iter()
            .filter(|each| !is_touched(each))
            .map(|each| (each.topic.to_string(), each.queue_id, each.queue_offset))
            .collect();
        let mut shown = None;
        for opening in 0..3 {
            let engine = match try_open(settings(&copy)) {
                Ok(engine) => engine,
                Err(error) => panic!("{what}: {error}"),
            };
            let found = served(&engine);
            for each in stored {
                let key = (each.topic.to_string(), each.queue_id, each.queue_offset);
                match found.get(&key) {
                    Some(bytes) if good.contains(&key) => assert!(*bytes == each.bytes, "{what}"),
                    Some(bytes) => assert!(
                        *bytes == each.bytes
                            || (are_crcs_damaged || each.log.start >= *unguarded_from)
                                && differ_unnoticeably(bytes, &each.bytes),
                        "{what}: wrong bytes at {key:?}"
                    ),
                    None => assert!(!good.contains(&key), "{what}: lost {key:?}"),
                }
            }
            assert!(found.len() <= stored.len(), "{what}: more than was stored");
            let before = shown.get_or_insert_with(|| found.clone());
            let changed: Vec<_> = (before.keys().filter(|key| !found.contains_key(*key)))
                .chain(
                    found
                        .keys()
                        .filter(|key| before.get(*key) != found.get(*key)),
                )
                .collect();
            assert!(changed.is_empty(), "{what}: opening {opening}: {changed:?}");
            holes += engine.damage().1.len();
            if opening == 1 {
                engine.close().unwrap();
            } else {
                kill(engine);
            }
        }
        let engine = open(&copy);
        for (topic, id) in max.keys() {
            let known = stored
                .iter()
                .filter(|each| each.topic == topic && each.queue_id == *id)
                .filter(|each| *is_synced || !is_touched(each))
                .map(|each| each.queue_offset + 1)
                .max();
            let next = append(&engine, topic, *id, b"new");
            assert!(
                next.queue_offset >= known.unwrap_or(0),
                "{what}: place {} of {topic}/{id} given again",
                next.queue_offset
            );
            if *is_synced {
                let end = stored.last().unwrap().log.end;
                assert!(
                    next.log_offset >= end,
                    "{what}: log position {} given again, {end}, {:?} {:?}",
                    next.log_offset,
                    engine.damage(),
                    engine.notes()
                );
            }
        }
        engine.write().unwrap();
        let now = served(&engine);
        kill(engine);
        assert_eq!(served(&open(&copy)), now, "{what}: after appends");
    }
    println!("{rounds} rounds from seed {first_seed}: {holes} holes seen");
    assert!(holes > 0 || rounds < 20);
}
