//! Files of queues are made while others go on, and those of a topic that goes do not come back.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::fs;
use std::path::Path;
use std::sync::mpsc::channel;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::cold_disk::ColdDisk;
use common::*;
use rmqlog::{Engine, Settings};

const TIME_LIMIT: Duration = Duration::from_secs(10);

/// A store whose queue units go to their files at once, and not before the disk lets their files be made.
fn held_store(dir: &Dir) -> (ColdDisk, Engine) {
    let disk = ColdDisk::default();
    disk.hold_queues();
    let settings = Settings {
        flush_interval_consume_queue_ms: 1,
        ..settings(dir)
    };
    let engine = open_on(Arc::new(disk.clone()), settings);
    (disk, engine)
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + TIME_LIMIT;
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        std::thread::yield_now();
    }
}

fn units(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).unwrap_or_default();
    let end = bytes.iter().rposition(|&byte| byte != 0);
    bytes[..end.map_or(0, |end| end + 1)].to_vec()
}

#[test]
fn nobody_waits_while_the_files_of_new_queues_are_made() {
    let dir = Dir::new();
    let (disk, engine) = held_store(&dir);
    for queue_id in 0..3 {
        append(&engine, "New", queue_id, b"first");
    }
    engine.write().unwrap();
    disk.until_making();
    let (told, done) = channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            append(&engine, "New", 0, b"second");
            append(&engine, "Other", 0, b"first");
            engine.write().unwrap();
            for (topic, count) in [("New", 2), ("Other", 1)] {
                let (plan, _) = engine.read(topic, 0, 0, 32, 1 << 20).unwrap();
                assert_eq!(plan.records.len(), count);
            }
            told.send(()).unwrap();
        });
        let answer = done.recv_timeout(TIME_LIMIT);
        assert!(!dir.path("consumequeue/Other").exists(), "it was not held");
        disk.let_queues_go();
        assert!(answer.is_ok(), "who stores and reads has to wait");
    });
    until("all are written", || {
        units(&dir.path("consumequeue/Other/0/00000000000000000000")).len() > 1
            && units(&dir.path("consumequeue/New/0/00000000000000000000")).len() > 20
    });
    engine.close().unwrap();
}

#[test]
fn a_topic_that_is_dropped_while_its_files_are_made_does_not_come_back() {
    let dir = Dir::new();
    let (disk, engine) = held_store(&dir);
    for queue_id in 0..3 {
        append(&engine, "Gone", queue_id, b"old");
        append(&engine, "Gone", queue_id, b"old, too");
    }
    engine.write().unwrap();
    disk.until_making();
    let (told, done) = channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            engine.drop_topic("Gone").unwrap();
            told.send(()).unwrap();
        });
        // The drop waits; without that it would be done by now, before the files of the others are made.
        let _ = done.recv_timeout(Duration::from_millis(100));
        disk.let_queues_go();
    });
    append(&engine, "Gone", 0, b"new");
    append(&engine, "Other", 0, b"new");
    engine.write().unwrap();
    until("the others are written", || {
        units(&dir.path("consumequeue/Other/0/00000000000000000000")).len() > 1
    });
    let (plan, bytes) = engine.read("Gone", 0, 0, 32, 1 << 20).unwrap();
    assert_eq!(plan.records.len(), 1);
    assert!(bytes.windows(3).any(|part| part == b"new"));
    engine.close().unwrap();
    assert!(units(&dir.path("consumequeue/Gone/0/00000000000000000000")).len() <= 20);
    assert!(!dir.path("consumequeue/Gone/1").exists());
}
