//! Reads that wait for no device: what they find, what they say is missing, and who brings it.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::fs;
use std::sync::Arc;

use common::cold_disk::{await_news, ColdDisk};
use common::*;
use rmqlog::ahead::Missing;
use rmqlog::hurry::{Fetched, Now};
use rmqlog::read::ReadPlan;
use rmqlog::Engine;

/// An open store with so many messages in one queue, of which nothing is in memory.
fn cold_store(dir: &Dir, count: usize) -> (ColdDisk, Engine) {
    let engine = open(dir);
    for number in 0..count {
        append(&engine, "Topic", 0, format!("body {number}").as_bytes());
        engine.write().unwrap();
    }
    engine.close().unwrap();
    drop(engine);
    let disk = ColdDisk::default();
    let engine = open_on(Arc::new(disk.clone()), settings(dir));
    disk.forget();
    (disk, engine)
}

fn plan_now(engine: &Engine, offset: i64) -> Now<ReadPlan> {
    let plan = engine.plan_read_now("Topic", 0, offset, 8, 1 << 20, None);
    plan.unwrap()
}

/// One read in a hurry: the messages, or what is missing.
fn read_now(engine: &Engine, offset: i64) -> Result<(ReadPlan, Vec<u8>, Vec<usize>), Missing> {
    let plan = match plan_now(engine, offset) {
        Now::Here(plan) => plan,
        Now::Missing(missing) => return Err(missing),
    };
    let mut out = vec![0; plan.size];
    match engine.copy_now(&plan, &mut out).unwrap() {
        Now::Here(damaged) => Ok((plan, out, damaged)),
        Now::Missing(missing) => Err(missing),
    }
}

/// What is in memory now.
fn here(ticket: u64) -> Fetched {
    let has_failed = false;
    Fetched { ticket, has_failed }
}

/// The same until all is there, and how often something was missing.
fn read_fetching(engine: &Engine, offset: i64) -> (ReadPlan, Vec<u8>, Vec<usize>, usize) {
    for count in 0..50 {
        match read_now(engine, offset) {
            Ok((plan, out, damaged)) => return (plan, out, damaged, count),
            Err(missing) => {
                assert!(engine.fetch(missing, 40 + count as u64));
                await_news(engine);
                assert_eq!(engine.take_fetched(), [here(40 + count as u64)]);
            }
        }
    }
    panic!("something is missing each time");
}

#[test]
fn what_is_not_in_memory_is_fetched_and_nobody_else_waits() {
    let dir = Dir::new();
    let (disk, engine) = cold_store(&dir, 60);
    disk.be_lazy();
    assert!(read_now(&engine, 0).is_err());
    let (plan, bytes, damaged, count) = read_fetching(&engine, 0);
    assert!(damaged.is_empty() && count > 0);
    assert_eq!(disk.waits(), Vec::<std::path::PathBuf>::new());
    let again = read_now(&engine, 0).ok().unwrap();
    assert_eq!((&again.1, again.0.next_offset), (&bytes, plan.next_offset));
    let (patient, expected) = engine.read("Topic", 0, 0, 8, 1 << 20).unwrap();
    assert_eq!((expected, patient.records), (bytes, plan.records));
}

#[test]
fn a_reader_that_goes_on_finds_what_was_asked_for_before_it_came() {
    let dir = Dir::new();
    let (disk, engine) = cold_store(&dir, 200);
    let mut offset = 0;
    let mut missing = 0;
    while offset < 200 {
        let (plan, _, damaged, count) = read_fetching(&engine, offset);
        assert!(damaged.is_empty());
        missing += count;
        offset = plan.next_offset;
    }
    let segments = fs::read_dir(dir.path("commitlog")).unwrap().count();
    let files = fs::read_dir(dir.path("consumequeue/Topic/0")).unwrap();
    // Each file begins with something that nobody had asked for: the log's, its checksums', the queue's.
    let most = 2 * segments + files.count();
    assert!(segments > 5 && missing <= most, "{missing} of {most}");
    assert_eq!(disk.waits(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn records_among_those_of_others_come_together() {
    let dir = Dir::new();
    let engine = open(&dir);
    for number in 0..8 {
        append(&engine, "Other", 0, format!("other {number}").as_bytes());
        append(&engine, "Topic", 0, format!("body {number}").as_bytes());
    }
    engine.write().unwrap();
    engine.close().unwrap();
    drop(engine);
    let disk = ColdDisk::default();
    let engine = open_on(Arc::new(disk.clone()), settings(&dir));
    disk.forget();
    disk.be_lazy();
    let (plan, _, damaged, count) = read_fetching(&engine, 0);
    assert_eq!((plan.records.len(), damaged.len()), (8, 0));
    // The queue, the log, and of the checksums the first one and the others.
    assert_eq!(count, 4);
}

#[test]
fn a_patient_reader_waits_itself_and_has_the_rest_brought() {
    let dir = Dir::new();
    let (disk, engine) = cold_store(&dir, 60);
    let (plan, bytes) = engine.read("Topic", 0, 0, 8, 1 << 20).unwrap();
    assert_eq!((plan.records.len(), bytes.len()), (8, plan.size));
    assert!(!disk.waits().is_empty());
    assert_eq!(disk.fetch_count(), 0, "the thread only asks");
}

#[test]
fn a_record_is_not_handed_out_while_its_checksum_is_on_its_way() {
    let dir = Dir::new();
    let (disk, engine) = cold_store(&dir, 20);
    disk.be_lazy();
    let path = dir.path("commitlog/00000000000000000000");
    let mut log = fs::read(&path).unwrap();
    let place = log.windows(4).position(|part| part == b"TagA").unwrap();
    log[place] ^= 1; // a property, which the body's checksum knows nothing of
    fs::write(&path, log).unwrap();
    let mut had_log = false;
    let (_, _, damaged, _) = loop {
        let Err(missing) = read_now(&engine, 0) else {
            break read_fetching(&engine, 0);
        };
        had_log |= disk.fetch_count() > 1;
        assert!(engine.fetch(missing, 1));
        await_news(&engine);
        assert_eq!(engine.take_fetched(), [here(1)]);
    };
    assert!(had_log);
    assert_eq!(damaged, [0]);
    assert_eq!(disk.waits(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn what_cannot_be_read_is_told_to_who_waits_for_it() {
    let dir = Dir::new();
    let (disk, engine) = cold_store(&dir, 20);
    disk.break_below(&dir.path("commitlog"));
    for ticket in 0..10 {
        let Err(missing) = read_now(&engine, 0) else {
            panic!("it was read");
        };
        assert!(engine.fetch(missing, ticket));
        await_news(&engine);
        let has_failed = ticket > 0; // the queue is well
        assert_eq!(engine.take_fetched(), [Fetched { ticket, has_failed }]);
    }
    let error = engine.read("Topic", 0, 0, 8, 1 << 20).unwrap_err();
    assert!(error.to_string().contains("commitlog"), "{error}");
}

#[test]
fn a_closed_store_fetches_nothing() {
    let dir = Dir::new();
    let (_, engine) = cold_store(&dir, 20);
    let Now::Missing(missing) = plan_now(&engine, 0) else {
        panic!("it is in memory");
    };
    engine.close().unwrap();
    assert!(!engine.fetch(missing, 1));
    assert!(engine.plan_read_now("Topic", 0, 0, 8, 100, None).is_err());
}
