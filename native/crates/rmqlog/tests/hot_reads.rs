//! Reads of what lies in page cache: few calls, the same bytes, the same checks.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;
#[path = "common/faults.rs"]
mod disk;

use std::fs;
use std::sync::Arc;

use common::*;
use disk::{Faults, FaultyDisk};
use rmqlog::{Engine, Settings};

const QUEUES: i32 = 8;
const COUNT: usize = 32;

fn wide(dir: &Dir) -> Settings {
    Settings {
        segment_size: 1 << 20,
        consume_queue_file_size: 20 * 1000,
        ..settings(dir)
    }
}

fn open_counted(dir: &Dir) -> (Engine, Arc<Faults>) {
    let (disk, faults) = FaultyDisk::with_faults();
    (open_on(disk, wide(dir)), faults)
}

/// Stores that many rounds of one message to each queue; where each record is, and its bytes, by queue.
fn store_in_turn(engine: &Engine, rounds: usize) -> Vec<Vec<(u64, Vec<u8>)>> {
    let mut stored = vec![Vec::new(); QUEUES as usize];
    for round in 0..rounds {
        for queue in 0..QUEUES {
            let body = format!("{round} {queue} {}", "x".repeat(60 + round % 5 * 40));
            let place = append(engine, "Topic", queue, body.as_bytes());
            engine.write().unwrap();
            let bytes = engine.record_at(place.log_offset as i64).unwrap().unwrap();
            stored[queue as usize].push((place.log_offset, bytes));
        }
    }
    stored
}

fn joined(stored: &[(u64, Vec<u8>)]) -> Vec<u8> {
    stored.iter().flat_map(|(_, bytes)| bytes.clone()).collect()
}

fn read(engine: &Engine, queue: i32, from: usize) -> Vec<u8> {
    engine
        .read("Topic", queue, from as i64, COUNT, 1 << 20)
        .unwrap()
        .1
}

#[test]
fn queues_that_were_filled_in_turn_are_read_with_one_call() {
    let dir = Dir::new();
    let (engine, faults) = open_counted(&dir);
    let mut stored = store_in_turn(&engine, 2 * COUNT);
    for round in [0, COUNT, 0] {
        let before = faults.log_reads();
        for queue in [3, 0, 7, 4, 1, 6, 2, 5] {
            let expected = joined(&stored[queue as usize][round..round + COUNT]);
            assert!(read(&engine, queue, round) == expected, "{queue} {round}");
        }
        assert_eq!(faults.log_reads() - before, 1, "{round}");
    }
    // What came since is not taken for the zeros that were there.
    assert_eq!(read(&engine, 0, COUNT), joined(&stored[0][COUNT..]));
    for (queue, more) in store_in_turn(&engine, 5).into_iter().enumerate() {
        stored[queue].extend(more);
        let expected = joined(&stored[queue][2 * COUNT - 3..]);
        assert_eq!(read(&engine, queue as i32, 2 * COUNT - 3), expected);
    }
}

#[test]
fn a_flipped_bit_is_noticed_in_what_another_queue_has_read_along() {
    let dir = Dir::new();
    let engine = open_on(Arc::new(rmqlog::disk::RealDisk), wide(&dir));
    let mut stored = store_in_turn(&engine, COUNT);
    engine.close().unwrap();
    let (at, _) = stored[5].remove(17);
    let path = dir.path("commitlog/00000000000000000000");
    let mut bytes = fs::read(&path).unwrap();
    bytes[at as usize + 60] ^= 4;
    fs::write(&path, bytes).unwrap();

    let (engine, faults) = open_counted(&dir);
    let before = faults.log_reads();
    for queue in [4, 5, 6] {
        let expected = joined(&stored[queue as usize]);
        assert!(read(&engine, queue, 0) == expected, "{queue}");
    }
    assert_eq!(faults.log_reads() - before, 1);
    assert_eq!(engine.damage().0, 1);
}

#[test]
fn what_cannot_be_read_hides_nothing_that_can() {
    let dir = Dir::new();
    let (engine, faults) = open_counted(&dir);
    let stored = store_in_turn(&engine, 3 * COUNT);
    let (victim, _) = stored[2][COUNT + 9];
    faults.set(|plan| {
        plan.unreadable = Some(("commitlog".to_string(), victim, victim + 1));
    });
    for queue in 0..QUEUES {
        for from in [0, COUNT, 2 * COUNT] {
            let found = engine.read("Topic", queue, from as i64, COUNT, 1 << 20);
            if (queue, from) == (2, COUNT) {
                assert!(found.is_err());
            } else {
                let expected = joined(&stored[queue as usize][from..from + COUNT]);
                assert!(found.unwrap().1 == expected, "{queue} {from}");
            }
        }
    }
}

#[test]
fn units_that_cannot_be_read_hide_none_before_them() {
    let dir = Dir::new();
    let (engine, _) = open_counted(&dir);
    let stored = store_in_turn(&engine, 2 * COUNT);
    engine.close().unwrap();
    drop(engine);
    let (engine, faults) = open_counted(&dir);
    let bad = 20 * (COUNT as u64 + 9); // it lies in the same read as those before it
    faults.set(|plan| {
        plan.unreadable = Some(("consumequeue".to_string(), bad, bad + 1));
    });
    assert_eq!(read(&engine, 2, 0), joined(&stored[2][..COUNT]));
    assert!(engine
        .read("Topic", 2, COUNT as i64, COUNT, 1 << 20)
        .is_err());
}

#[test]
fn a_filter_looks_at_800_units_in_whatever_steps() {
    let dir = Dir::new();
    let (engine, _) = open_counted(&dir);
    let rare = [5, 203, 204, 700, 799, 800, 850];
    for number in 0..900 {
        let tag = if rare.contains(&number) { "B" } else { "A" };
        let text = format!("TAGS\x01{tag}\x02");
        let message = message("Topic", 0, b"body", text.as_bytes());
        engine.append("Topic", &message, 1_700_000_000_000).unwrap();
    }
    engine.write().unwrap();
    let plan = |from, count, tag: char| {
        let tags = [tag as i32]; // the hash of one letter
        let plan = engine.plan_read("Topic", 0, from, count, 1 << 20, Some(&tags));
        let plan = plan.unwrap();
        let found: Vec<i64> = plan.records.iter().map(|next| next.queue_offset).collect();
        (found, plan.next_offset)
    };
    assert_eq!(plan(0, 32, 'B'), (vec![5, 203, 204, 700, 799], 800));
    assert_eq!(plan(0, 3, 'B'), (vec![5, 203, 204], 205));
    assert_eq!(plan(1, 32, 'B'), (vec![5, 203, 204, 700, 799, 800], 801));
    assert_eq!(plan(800, 32, 'B'), (vec![800, 850], 900));
    assert_eq!(plan(0, 32, 'C'), (vec![], 800));
    assert_eq!(plan(190, 12, 'A'), ((190..202).collect(), 202));
    assert_eq!(plan(200, 5, 'A'), (vec![200, 201, 202, 205, 206], 207));
}
