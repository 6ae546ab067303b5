//! The start after a failed sync: what counts is what the device gives back.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;
#[path = "common/faults.rs"]
mod disk;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::*;
use disk::{Faults, FaultyDisk};
use rmqlog::disk::Disk;
use rmqlog::{Engine, Settings};

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "waited in vain until {what}"
        );
        std::thread::yield_now();
    }
}

/// A store that ends behind a failed sync: "first" is synced, "second" is not. Where the second
/// begins and ends in the log.
fn with_failed_sync(disk: Arc<dyn Disk>, faults: &Faults, dir: &Dir) -> (u64, u64) {
    let quick = Settings {
        sync_flush: false,
        flush_interval_ms: 1,
        ..settings(dir)
    };
    let engine = open_on(disk, quick);
    append(&engine, "Topic", 0, b"first");
    engine.write().unwrap();
    let is_flushed = |engine: &Engine| engine.positions().flushed == engine.positions().written;
    until("flushed", || is_flushed(&engine));
    let from = engine.positions().written;
    faults.set(|plan| plan.sync = Some(("commitlog".into(), libc::EIO)));
    append(&engine, "Topic", 0, b"second");
    engine.write().unwrap();
    until("failed", || engine.failure().is_some());
    let to = engine.positions().written;
    assert!(dir.path("pyromq/sync-failed").exists());
    assert!(engine.close().is_err());
    (from, to)
}

#[test]
fn what_the_device_takes_this_time_is_kept() {
    let dir = Dir::new();
    let (disk, faults) = FaultyDisk::with_faults();
    with_failed_sync(Arc::clone(&disk), &faults, &dir);
    let segment = dir.path("commitlog/00000000000000000000");
    let about = fs::metadata(&segment).unwrap();
    let again = open_on(disk, settings(&dir));
    assert_eq!(again.queue_range("Topic", 0), (0, 2));
    // Blocks whose first write failed may read as zeros although they were written and synced again.
    let now = fs::metadata(&segment).unwrap();
    assert!(now.ino() != about.ino(), "written into the same blocks");
    assert_eq!(now.len(), about.len());
    assert!(!dir.path("pyromq/sync-failed").exists());
    let notes = again.notes().join("\n");
    assert!(notes.contains("read back from the device"), "{notes}");
}

/// The bytes of all messages of the one queue.
fn content(engine: &Engine) -> String {
    let (_, _, bytes) = &view(engine).queues[&("Topic".to_string(), 0)];
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn what_the_device_never_took_is_not_believed_though_the_kernel_shows_it() {
    let dir = Dir::new();
    let (disk, faults) = FaultyDisk::with_faults();
    let (from, to) = with_failed_sync(Arc::clone(&disk), &faults, &dir);
    let segment = "commitlog/00000000000000000000".to_string();
    faults.set(|plan| plan.never_taken = Some((segment, from, to)));
    let again = open_on(Arc::clone(&disk), settings(&dir));
    faults.set(|plan| plan.never_taken = None);
    assert_eq!(again.positions().flushed, from);
    let found = content(&again);
    assert!(
        found.contains("first") && !found.contains("second"),
        "{found}"
    );
    append(&again, "Topic", 0, b"third");
    again.write().unwrap();
    let before = view(&again);
    again.close().unwrap();
    assert!(before.queues[&("Topic".to_string(), 0)].2.len() > found.len());
    assert_eq!(view(&open(&dir)), before);
}

#[test]
fn a_device_that_fails_again_stops_the_start_and_the_next_one_tries_again() {
    let dir = Dir::new();
    let (disk, faults) = FaultyDisk::with_faults();
    with_failed_sync(Arc::clone(&disk), &faults, &dir);
    faults.set(|plan| plan.sync = Some(("commitlog".into(), libc::EIO)));
    let error = Engine::open(Arc::clone(&disk), settings(&dir))
        .err()
        .unwrap();
    assert!(error.to_string().contains("sync"), "{error}");
    assert!(dir.path("pyromq/sync-failed").exists());
    let again = open_on(disk, settings(&dir));
    assert_eq!(again.queue_range("Topic", 0), (0, 2));
}
