//! A slow disk: who writes, what is told when, and what becomes of what waits.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use rmqlog::{Engine, Settings, StoreError};

use crate::commit_log::WAITING_SIZE_MAX;
use crate::faults::{Faults, FaultyDisk};
use crate::pace::Pace;

#[path = "../tests/common/mod.rs"]
mod common;

use common::*;

/// A store with some messages whose writes from now on are done by the writer.
fn slow_store(dir: &Dir, change: impl FnOnce(&mut Settings)) -> (Engine, Arc<Faults>, Released) {
    let (disk, faults) = FaultyDisk::with_faults();
    let mut settings = settings(dir);
    change(&mut settings);
    let engine = open_on(disk, settings);
    fill(&engine, 5);
    engine.state().pace = Pace::always_slow();
    faults.set(|plan| plan.writers.clear());
    let released = Released(Arc::clone(&faults));
    (engine, faults, released)
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        let is_late = start.elapsed() > Duration::from_secs(20);
        assert!(!is_late, "waited in vain until {what}");
        std::thread::yield_now();
    }
}

fn is_handed_out(engine: &Engine) -> bool {
    engine.collect();
    engine.state().log.is_handed_out()
}

/// Has everything written that waits; answers what the first refusal says.
fn settle(engine: &Engine) -> Result<(), StoreError> {
    loop {
        until("the writer is done", || {
            !is_handed_out(engine) || engine.state().has_unwritten()
        });
        engine.write()?;
        let state = engine.state();
        if !state.log.is_handed_out() && !state.log.has_turn() {
            return Ok(());
        }
    }
}

/// Lets go of everything that is held, so that a test that fails ends.
struct Released(Arc<Faults>);

impl Drop for Released {
    fn drop(&mut self) {
        self.0.set(|plan| {
            plan.hold_writes = false;
            plan.hold_syncs = false;
        });
    }
}

/// Appends one message and holds its write; answers where it will be.
fn hold_a_write(engine: &Engine, faults: &Faults) -> rmqlog::Appended {
    faults.set(|plan| plan.hold_writes = true);
    let place = append(engine, "Topic", 0, b"held");
    engine.write().unwrap();
    faults.until_writes(1);
    place
}

#[test]
fn the_first_slow_write_is_the_last_that_the_caller_waits_for() {
    let dir = Dir::new();
    let (disk, faults) = FaultyDisk::with_faults();
    let slow = Duration::from_millis(200);
    let settings = Settings {
        slow_write_ms: slow.as_millis() as u64,
        ..settings(&dir)
    };
    let engine = open_on(disk, settings);
    fill(&engine, 3);
    let own = std::thread::current().name().unwrap().to_string();
    assert!(faults.writers().iter().all(|name| *name == own));
    faults.set(|plan| {
        plan.writers.clear();
        plan.hold_writes = true;
    });
    append(&engine, "Topic", 0, b"slow");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            faults.until_writes(1);
            let began = Instant::now();
            until("the write is slow", || began.elapsed() >= slow);
            faults.set(|plan| plan.hold_writes = false);
        });
        engine.write().unwrap();
    });
    append(&engine, "Topic", 0, b"next");
    engine.write().unwrap();
    settle(&engine).unwrap();
    assert_eq!(faults.writers(), [own, "rmqlog-write".to_string()]);
    assert_eq!(view(&engine).end, engine.positions().appended);
    engine.close().unwrap();
}

#[test]
fn while_a_write_hangs_appends_and_reads_go_on_and_what_came_meanwhile_is_one_write() {
    for sync_flush in [false, true] {
        let dir = Dir::new();
        let (engine, faults, _released) =
            slow_store(&dir, |settings| settings.sync_flush = sync_flush);
        until("all is committed", || {
            engine.positions().commit == engine.positions().appended
        });
        let before = view(&engine);
        let first = hold_a_write(&engine, &faults);
        let mut last = first;
        for number in 0..4 {
            last = append(&engine, "Topic", 0, b"behind it");
            assert_eq!(last.queue_offset, first.queue_offset + number + 1);
            engine.write().unwrap();
        }
        let now = engine.positions();
        assert_eq!((now.appended, now.written), (last.end, before.end));
        assert_eq!(now.commit, before.end);
        assert_eq!(
            view(&engine),
            before,
            "nothing is shown that is not written"
        );
        assert!(engine
            .take_arrivals()
            .iter()
            .all(|(_, _, max)| *max <= first.queue_offset));
        faults.set(|plan| plan.hold_writes = false);
        settle(&engine).unwrap();
        assert_eq!(faults.writers(), ["rmqlog-write", "rmqlog-write"]);
        until("all is committed", || engine.positions().commit == last.end);
        assert_eq!(engine.queue_range("Topic", 0).1, last.queue_offset + 1);
        let now = view(&engine);
        kill(engine);
        assert_eq!(view(&open(&dir)), now);
    }
}

#[test]
fn a_disk_found_full_by_the_writer_takes_back_all_that_is_not_written() {
    for bytes in [0, 1, 50, 100] {
        let dir = Dir::new();
        let (engine, faults, _released) = slow_store(&dir, |_| ());
        let before = view(&engine);
        let first = hold_a_write(&engine, &faults);
        append(&engine, "Topic", 0, &[7; 3000]); // goes to the next segment
        let other = append(&engine, "Topic", 1, b"another queue");
        faults.set(|plan| {
            plan.write = Some(("commitlog".into(), bytes, libc::ENOSPC));
            plan.hold_writes = false;
        });
        until("the writer is done", || {
            engine.collect();
            engine.state().has_unwritten()
        });
        // Nothing is taken back before write() tells: who waits must know before places are given again.
        let late = append(&engine, "Topic", 0, b"too late");
        assert_eq!(late.queue_offset, first.queue_offset + 2);
        let answer = engine.write();
        assert!(
            matches!(&answer, Err(StoreError::Failed(text)) if text.contains("os error 28")),
            "{answer:?}"
        );
        let now = engine.positions();
        assert_eq!((now.appended, now.written), (before.end, before.end));
        assert_eq!(view(&engine), before);
        assert_eq!(engine.failure(), None);
        faults.set(|plan| plan.write = None);
        let again = append(&engine, "Topic", 0, b"x");
        assert_eq!(again.queue_offset, first.queue_offset);
        assert_eq!(again.log_offset, first.log_offset);
        let again = append(&engine, "Topic", 1, b"y");
        assert_eq!(again.queue_offset, other.queue_offset);
        settle(&engine).unwrap();
        let now = view(&engine);
        kill(engine);
        assert_eq!(
            view(&open(&dir)),
            now,
            "nothing is left of what was taken back"
        );
    }
}

#[test]
fn a_device_that_fails_the_writer_ends_writing() {
    let dir = Dir::new();
    let (engine, faults, _released) = slow_store(&dir, |_| ());
    let before = view(&engine);
    hold_a_write(&engine, &faults);
    append(&engine, "Topic", 0, b"behind it");
    faults.set(|plan| {
        plan.write = Some(("commitlog".into(), 20, libc::EIO));
        plan.hold_writes = false;
    });
    assert!(settle(&engine).is_err());
    let failure = engine.failure().unwrap();
    assert!(failure.contains("os error 5"), "{failure}");
    let refused = engine.append("Topic", &message("Topic", 0, b"x", b""), 1);
    assert!(matches!(refused, Err(StoreError::Failed(text)) if text == failure));
    assert_eq!(view(&engine), before);
    assert_eq!(engine.positions().appended, before.end);
}

#[test]
fn a_sync_that_fails_while_the_writer_writes_ends_writing_once_it_is_done() {
    let dir = Dir::new();
    let (engine, faults, _released) = slow_store(&dir, |settings| settings.sync_flush = true);
    until("all is committed", || {
        engine.positions().commit == engine.positions().appended
    });
    faults.set(|plan| plan.hold_syncs = true);
    append(&engine, "Topic", 0, b"not synced");
    settle(&engine).unwrap();
    faults.set(|plan| plan.writers.clear());
    hold_a_write(&engine, &faults);
    append(&engine, "Topic", 0, b"behind it");
    faults.set(|plan| {
        plan.sync = Some(("commitlog".into(), libc::EIO));
        plan.hold_syncs = false;
    });
    until("the sync has failed", || engine.failure().is_some());
    engine.write().unwrap(); // not to be told before the writer is done
    faults.set(|plan| plan.hold_writes = false);
    assert!(settle(&engine).is_err());
    let now = engine.positions();
    assert_eq!(
        now.appended, now.written,
        "what was behind it is taken back"
    );
    assert!(engine.close().is_err());
}

#[test]
fn a_write_that_hangs_keeps_new_messages_out_after_a_while() {
    let dir = Dir::new();
    let (engine, faults, _released) = slow_store(&dir, |settings| settings.write_busy_ms = 0);
    hold_a_write(&engine, &faults);
    let refused = engine.append("Topic", &message("Topic", 0, b"x", b""), 1);
    assert!(matches!(refused, Err(StoreError::Busy(_))), "{refused:?}");
    assert!(matches!(
        engine.append_batch("Topic", b"", &message("Topic", 0, b"", b""), 1),
        Err(StoreError::Busy(_))
    ));
    faults.set(|plan| plan.hold_writes = false);
    settle(&engine).unwrap();
    append(&engine, "Topic", 0, b"x");
    engine.close().unwrap();
}

#[test]
fn what_waits_behind_a_write_is_bounded() {
    const SIZE: usize = 1 << 20;
    let dir = Dir::new();
    let (engine, faults, _released) = slow_store(&dir, |settings| {
        settings.segment_size = 1 << 30;
        settings.write_busy_ms = u64::MAX;
    });
    hold_a_write(&engine, &faults);
    let body = vec![7; SIZE];
    let mut count = 0;
    let refused = loop {
        match engine.append("Topic", &message("Topic", 0, &body, b""), 1) {
            Ok(_) => count += 1,
            Err(error) => break error,
        }
        engine.write().unwrap();
    };
    assert!(matches!(&refused, StoreError::Busy(_)), "{refused:?}");
    assert_eq!(count, WAITING_SIZE_MAX / SIZE - 1);
    faults.set(|plan| plan.hold_writes = false);
    settle(&engine).unwrap();
    assert_eq!(engine.positions().written, engine.positions().appended);
    kill(engine);
}

#[test]
fn a_clean_stop_waits_for_the_writer_and_writes_what_waits_behind_it() {
    let dir = Dir::new();
    let (engine, faults, _released) = slow_store(&dir, |_| ());
    hold_a_write(&engine, &faults);
    let last = append(&engine, "Topic", 0, b"behind it");
    std::thread::scope(|scope| {
        let closing = scope.spawn(|| engine.close());
        faults.set(|plan| plan.hold_writes = false);
        closing.join().unwrap().unwrap();
    });
    drop(engine);
    let engine = open(&dir);
    assert_eq!(engine.queue_range("Topic", 0).1, last.queue_offset + 1);
}

#[test]
fn a_segment_that_is_not_made_in_time_keeps_messages_out_until_it_is() {
    let dir = Dir::new();
    let (disk, faults) = FaultyDisk::with_faults();
    let engine = open_on(disk, settings(&dir));
    let _released = Released(Arc::clone(&faults));
    fill(&engine, 2);
    let before = view(&engine);
    engine.state().log.settle();
    faults.set(|plan| plan.hold_syncs = true);
    let large = [7; 3800];
    let refused = || match engine.append("Topic", &message("Topic", 0, &large, b""), 1) {
        Err(StoreError::Busy(text)) => text,
        other => panic!("not busy: {other:?}"),
    };
    assert!(refused().contains("00000000000000004096 is not made yet"));
    let again = Instant::now();
    assert!(refused().contains("is not made yet"));
    assert!(
        again.elapsed() < Duration::from_secs(1),
        "only the first one waits"
    );
    // What has room in this segment is taken meanwhile.
    let next = append(&engine, "Topic", 0, b"small");
    assert_eq!((next.log_offset, next.queue_offset), (before.end, 0));
    engine.write().unwrap();
    faults.set(|plan| plan.hold_syncs = false);
    engine.state().log.settle();
    let place = append(&engine, "Topic", 0, &large);
    assert_eq!((place.log_offset, place.queue_offset), (4096, 1));
    engine.write().unwrap();
    let now = view(&engine);
    kill(engine);
    assert_eq!(view(&open(&dir)), now);
}
