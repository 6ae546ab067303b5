//! A walk over damaged logs finds every record that is whole, whatever was done to the others.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use rmqlog::check::{LogWalk, Region, Sink};
use rmqlog::disk::RealDisk;
use rmqlog::error::Result;
use rmqlog::record::{encode, encode_blank, Message, Place, Record};

const SEGMENT: usize = 4096;

/// A log of `count` records in segments of 4 KiB; where each begins and ends.
fn write_log(dir: &Path, count: usize) -> Vec<(usize, usize)> {
    let mut log = Vec::new();
    let mut places = Vec::new();
    for number in 0..count {
        let body = vec![number as u8; 50 + number % 90];
        let message = Message {
            topic: b"topic",
            queue_id: 0,
            body: &body,
            properties: b"",
            flag: 0,
            sys_flag: 0,
            born_timestamp_ms: 1,
            born_host: &[127, 0, 0, 1, 0, 0, 0, 1],
            reconsume_times: 0,
            prepared_transaction_offset: 0,
        };
        let mut bytes = Vec::new();
        for _ in 0..2 {
            bytes.clear();
            let place = Place {
                queue_offset: number as i64,
                log_offset: log.len() as u64,
                store_timestamp_ms: 2,
                store_host: &[127, 0, 0, 1, 0, 0, 0, 1],
            };
            encode(&message, &place, &mut bytes);
            let room = SEGMENT - log.len() % SEGMENT;
            if bytes.len() + 8 > room {
                encode_blank(room as u64, &mut log);
                log.resize(log.len().next_multiple_of(SEGMENT), 0);
            }
        }
        places.push((log.len(), log.len() + bytes.len()));
        log.extend_from_slice(&bytes);
    }
    log.resize(log.len().next_multiple_of(SEGMENT), 0);
    write(dir, &log);
    places
}

fn write(dir: &Path, log: &[u8]) {
    std::fs::create_dir_all(dir).unwrap();
    for (number, segment) in log.chunks(SEGMENT).enumerate() {
        std::fs::write(dir.join(format!("{:020}", number * SEGMENT)), segment).unwrap();
    }
}

fn read(dir: &Path) -> Vec<u8> {
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    names
        .iter()
        .flat_map(|path| std::fs::read(path).unwrap())
        .collect()
}

#[derive(Default)]
struct Seen(Vec<usize>);

impl Sink for Seen {
    fn record(&mut self, bytes: &[u8], record: &Record<'_>, _: &[Region]) -> Result<()> {
        assert_eq!(bytes.len(), record.size);
        self.0.push(record.log_offset as usize);
        Ok(())
    }
}

fn walk(dir: &Path, step: u64) -> (LogWalk, Vec<usize>) {
    let mut walk = LogWalk::new(Arc::new(RealDisk), dir.to_path_buf(), SEGMENT as u64).unwrap();
    let mut seen = Seen::default();
    while !walk.is_at_end() {
        let before = walk.done();
        walk.step(step, &mut seen).unwrap();
        assert!(
            walk.done() > before || walk.is_at_end(),
            "every step comes further"
        );
    }
    assert_eq!(walk.done(), walk.size());
    (walk, seen.0)
}

fn directory(name: &str) -> std::path::PathBuf {
    let dir = std::env::temp_dir().join(format!("rmqlog-check-{}-{name}", std::process::id()));
    drop(std::fs::remove_dir_all(&dir));
    dir
}

#[test]
fn a_sound_log_has_all_its_records_and_no_regions_whatever_the_step() {
    let dir = directory("sound");
    let places = write_log(&dir, 100);
    for step in [1, 100, 5000, 1 << 30] {
        let (walk, seen) = walk(&dir, step);
        assert_eq!(seen, places.iter().map(|place| place.0).collect::<Vec<_>>());
        assert!(walk.regions.is_empty() && walk.findings.is_empty());
        assert_eq!(walk.torn_tail(), None);
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn garbage_anywhere_costs_only_the_records_it_touches() {
    let dir = directory("garbage");
    let places = write_log(&dir, 100);
    let sound = read(&dir);
    let mut seed = 0x9E37_79B9_7F4A_7C15u64;
    let mut random = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    for round in 0..300 {
        let mut log = sound.clone();
        let from = random(places[99].0);
        let to = (from + 1 + random(2 * SEGMENT)).min(places[99].0);
        for (place, byte) in log[from..to].iter_mut().enumerate() {
            *byte = match round % 3 {
                0 => 0,
                1 => 0xFF,
                _ => random(256 + place % 2) as u8,
            };
        }
        write(&dir, &log);
        let (walk, seen) = walk(&dir, 1 + random(4 * SEGMENT) as u64);
        for (number, place) in places.iter().enumerate() {
            let is_touched = place.0 < to && from < place.1;
            let is_seen = seen.contains(&place.0);
            assert!(
                is_seen || is_touched,
                "round {round}: record {number} was not found"
            );
            let is_within = walk
                .regions
                .iter()
                .any(|region| (region.from..region.to).contains(&(place.0 as u64)));
            assert!(
                is_seen != is_within,
                "round {round}: record {number} is both or neither"
            );
        }
        let is_apart = |pair: &[Region]| pair[0].to <= pair[1].from;
        assert!(walk.regions.windows(2).all(is_apart));
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn an_incomplete_last_record_is_a_torn_tail_and_no_region() {
    let dir = directory("torn");
    let places = write_log(&dir, 50);
    let mut log = read(&dir);
    let (begin, end) = places[49];
    log[end - 20..end].fill(0);
    write(&dir, &log);
    let (walk, seen) = walk(&dir, 1000);
    assert_eq!(seen.len(), 49);
    assert!(walk.regions.is_empty());
    assert_eq!(walk.torn_tail().unwrap().0, begin as u64);
    assert_eq!(walk.counted.end, places[48].1 as u64);
    std::fs::remove_dir_all(&dir).unwrap();
}
