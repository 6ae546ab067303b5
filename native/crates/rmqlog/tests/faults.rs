//! What a failing disk does to a running store: the truth is told, nothing half-done is kept.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;
#[path = "common/faults.rs"]
mod disk;

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::*;
use disk::FaultyDisk;
use rmqlog::{Engine, Settings, StoreError};

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

fn failed(answer: Result<(), StoreError>) -> String {
    match answer {
        Err(StoreError::Failed(text)) => text,
        other => panic!("not a failure: {other:?}"),
    }
}

#[test]
fn a_full_disk_takes_the_turn_back_and_the_next_one_gets_its_offsets() {
    for bytes in [0, 1, 50, 130, 200] {
        let dir = Dir::new();
        let (disk, faults) = FaultyDisk::with_faults();
        let engine = open_on(disk, settings(&dir));
        fill(&engine, 5);
        let before = view(&engine);
        let first = append(&engine, "Topic", 0, b"lost");
        append(&engine, "Topic", 0, b"lost too");
        faults.set(|plan| plan.write = Some(("commitlog".into(), bytes, libc::ENOSPC)));
        let text = failed(engine.write());
        assert!(
            text.contains("commitlog/00000000000000000000: write at byte"),
            "{text}"
        );
        assert!(text.contains("os error 28"), "{text}");
        assert_eq!(view(&engine), before);
        let now = engine.positions();
        assert_eq!(
            (now.appended, now.written, now.commit),
            (before.end, before.end, before.end)
        );
        assert_eq!(engine.failure(), None);
        faults.set(|plan| plan.write = None);
        let again = append(&engine, "Topic", 0, b"x");
        assert_eq!(again.queue_offset, first.queue_offset);
        assert_eq!(again.log_offset, first.log_offset);
        engine.write().unwrap();
        let now = view(&engine);
        kill(engine);
        // Nothing of the failed turn is left behind the shorter one.
        assert_eq!(view(&open(&dir)), now);
    }
}

/// Of three refused messages the disk has two whole ones, and the next message is as long as the first.
#[test]
fn a_refused_message_that_is_on_disk_whole_does_not_come_back() {
    let dir = Dir::new();
    let (disk, faults) = FaultyDisk::with_faults();
    let engine = open_on(disk, settings(&dir));
    fill(&engine, 5);
    let first = append(&engine, "Topic", 0, b"first refused");
    let second = append(&engine, "Topic", 0, b"second refused");
    let third = append(&engine, "Topic", 0, b"third refused");
    let bytes = (third.log_offset - first.log_offset) as usize;
    faults.set(|plan| plan.write = Some(("commitlog".into(), bytes, libc::ENOSPC)));
    failed(engine.write());
    faults.set(|plan| plan.write = None);
    let taken = append(&engine, "Topic", 0, b"message taken");
    assert_eq!(taken.end, second.log_offset);
    engine.write().unwrap();
    let now = view(&engine);
    kill(engine);
    assert_eq!(view(&open(&dir)), now);
}

/// A start that was killed while it removed the files of a queue it does not believe. Where Apache's broker
/// stopped last, no note names that queue.
#[test]
fn a_queue_half_removed_does_not_seem_to_have_expired_messages() {
    let dir = Dir::new();
    let engine = open(&dir);
    fill(&engine, 100);
    let before = view(&engine);
    engine.close().unwrap();
    let of_apache = dir.copy();
    fs::remove_dir_all(of_apache.path("pyromq")).unwrap();
    fs::remove_file(of_apache.path("checkpoint")).unwrap();
    let of_apache_killed = of_apache.copy();
    fs::write(of_apache_killed.path("abort"), b"1").unwrap();
    kill(open(&dir));
    for (dir, whose) in [
        (dir, "ours"),
        (of_apache, "Apache's"),
        (of_apache_killed, "Apache's, killed"),
    ] {
        let queue = dir.path("consumequeue/Topic/1");
        let count = fs::read_dir(&queue).unwrap().count();
        assert!(count > 2);
        // A file in the middle has another length: the queue contradicts itself.
        let middle = queue.join("00000000000000000200");
        fs::write(&middle, vec![0xFF; 30]).unwrap();
        for removed in 0..=count {
            let copy = dir.copy();
            let (disk, faults) = FaultyDisk::with_faults();
            let victim = "consumequeue/Topic/1/".to_string();
            faults.set(|plan| plan.remove = Some((victim, removed, libc::EIO)));
            let ended_early = Engine::open(disk, settings(&copy)).is_err();
            assert_eq!(ended_early, removed < count, "{whose}: {removed} removed");
            assert!(view(&open(&copy)) == before, "{whose}: {removed} removed");
        }
    }
}

#[test]
fn a_disk_without_room_to_reserve_ahead_takes_what_still_fits() {
    let dir = Dir::new();
    let (disk, faults) = FaultyDisk::with_faults();
    let engine = open_on(disk, settings(&dir));
    faults.set(|plan| plan.allocate_max = Some(500));
    fill(&engine, 5);
    append(&engine, "Topic", 0, &[7; 600]);
    let text = failed(engine.write());
    assert!(text.contains("reserve space"), "{text}");
    assert_eq!(engine.failure(), None);
    append(&engine, "Topic", 0, b"small");
    engine.write().unwrap();
}

#[test]
fn a_drop_in_a_turn_that_is_taken_back_hides_nothing_of_the_new_life() {
    let dir = Dir::new();
    let (disk, faults) = FaultyDisk::with_faults();
    let engine = open_on(disk, settings(&dir));
    fill(&engine, 5);
    for _ in 0..3 {
        append(&engine, "Topic", 1, b"old life, taken back");
    }
    engine.drop_topic("Topic").unwrap();
    faults.set(|plan| plan.write = Some(("commitlog".into(), 0, libc::ENOSPC)));
    failed(engine.write());
    faults.set(|plan| plan.write = None);
    assert_eq!(append(&engine, "Topic", 1, b"new life").queue_offset, 0);
    engine.write().unwrap();
    let before = view(&engine);
    kill(engine);
    assert_eq!(view(&open(&dir)), before);
}

#[test]
fn a_turn_over_two_segments_is_taken_back_whole() {
    for bytes in [10, 5000] {
        let dir = Dir::new();
        let (disk, faults) = FaultyDisk::with_faults();
        let engine = open_on(disk, settings(&dir));
        fill(&engine, 30);
        let before = view(&engine);
        assert!(before.end < 4096);
        for _ in 0..6 {
            append(&engine, "Topic", 0, &[7; 900]);
        }
        assert!(engine.positions().appended > 8192);
        faults.set(|plan| plan.write = Some(("commitlog".into(), bytes, libc::ENOSPC)));
        failed(engine.write());
        assert_eq!(view(&engine), before);
        faults.set(|plan| plan.write = None);
        fill(&engine, 30);
        let now = view(&engine);
        kill(engine);
        assert_eq!(view(&open(&dir)), now);
    }
}

#[test]
fn no_room_to_reserve_is_a_failed_turn_and_ends_by_itself() {
    let dir = Dir::new();
    let (disk, faults) = FaultyDisk::with_faults();
    let engine = open_on(disk, settings(&dir));
    faults.set(|plan| plan.allocate = Some(libc::ENOSPC));
    append(&engine, "Topic", 0, b"x");
    assert!(failed(engine.write()).contains("reserve space"));
    assert_eq!(engine.failure(), None);
    faults.set(|plan| plan.allocate = None);
    fill(&engine, 3);
    assert_eq!(engine.queue_ids("Topic"), vec![0, 1]);
}

#[test]
fn a_dying_disk_makes_the_store_read_only() {
    let dir = Dir::new();
    let (disk, faults) = FaultyDisk::with_faults();
    let engine = open_on(disk, settings(&dir));
    fill(&engine, 5);
    let before = view(&engine);
    append(&engine, "Topic", 0, b"lost");
    faults.set(|plan| plan.write = Some(("commitlog".into(), 3, libc::EIO)));
    let text = failed(engine.write());
    assert!(text.contains("os error 5"), "{text}");
    faults.set(|plan| plan.write = None);
    assert_eq!(engine.failure(), Some(text.clone()));
    let refused = engine
        .append("Topic", &message("Topic", 0, b"", b""), 1)
        .unwrap_err();
    assert_eq!(refused, StoreError::Failed(text));
    assert_eq!(view(&engine), before); // reads go on
    assert!(engine.close().is_err());
    assert!(dir.path("abort").exists());
    assert_eq!(view(&open(&dir)), before);
}

#[test]
fn a_failed_sync_is_never_tried_again() {
    for sync_flush in [true, false] {
        let dir = Dir::new();
        let (disk, faults) = FaultyDisk::with_faults();
        let quick = Settings {
            sync_flush,
            flush_interval_ms: 1,
            ..settings(&dir)
        };
        let engine = open_on(disk, quick);
        append(&engine, "Topic", 0, b"first");
        engine.write().unwrap();
        until("flushed", || {
            engine.positions().flushed == engine.positions().written
        });
        let before = engine.positions();
        faults.set(|plan| plan.sync = Some(("commitlog".into(), libc::EIO)));
        append(&engine, "Topic", 0, b"second");
        engine.write().unwrap();
        until("the sync has ended", || {
            let now = engine.positions();
            engine.failure().is_some() || now.flushed == now.written
        });
        let syncs = faults.log_syncs();
        let text = engine.failure().unwrap();
        assert!(
            text.contains("commitlog/00000000000000000000: sync"),
            "{text}"
        );
        let now = engine.positions();
        assert_eq!(now.flushed, before.flushed);
        if sync_flush {
            assert_eq!(now.commit, before.commit);
            assert_eq!(engine.queue_range("Topic", 0), (0, 1));
        }
        assert!(matches!(
            engine.append("Topic", &message("Topic", 0, b"", b""), 1),
            Err(StoreError::Failed(_))
        ));
        assert!(engine.close().is_err());
        assert_eq!(faults.log_syncs(), syncs);
        assert!(dir.path("abort").exists());
    }
}

#[test]
fn a_start_syncs_what_a_killed_process_left_before_it_counts_as_flushed() {
    let dir = Dir::new();
    let engine = open(&dir);
    fill(&engine, 60);
    let end = engine.positions().written;
    assert!(end > 4096);
    assert_eq!(engine.positions().flushed, 0);
    let left = dir.copy();
    let (disk, faults) = FaultyDisk::with_faults();
    let again = open_on(Arc::clone(&disk), settings(&left));
    assert_eq!(again.positions().flushed, end);
    faults.set(|plan| {
        for base in (0..end).step_by(4096) {
            let path = left.path(&format!("commitlog/{base:020}"));
            assert!(plan.synced.contains(&path), "{path:?} is not synced");
        }
    });
    again.close().unwrap();
    faults.set(|plan| plan.synced.clear());
    let again = open_on(disk, settings(&left));
    let first = left.path("commitlog/00000000000000000000");
    faults.set(|plan| assert!(!plan.synced.contains(&first), "a clean stop left nothing"));
    again.close().unwrap();
}

#[test]
fn what_waits_for_its_sync_is_not_shown() {
    let dir = Dir::new();
    let (disk, faults) = FaultyDisk::with_faults();
    let engine = open_on(
        disk,
        Settings {
            sync_flush: true,
            ..settings(&dir)
        },
    );
    append(&engine, "Topic", 0, b"first");
    engine.write().unwrap();
    until("flushed", || {
        engine.positions().commit == engine.positions().written
    });
    let held = faults.hold_syncs();
    let second = append(&engine, "Topic", 0, b"second");
    engine.write().unwrap();
    engine.take_arrivals();
    assert_eq!(engine.queue_range("Topic", 0), (0, 1));
    assert_eq!(engine.record_at(second.log_offset as i64).unwrap(), None);
    assert!(engine.take_arrivals().is_empty());
    drop(held);
    until("flushed", || engine.positions().commit == second.end);
    assert_eq!(engine.queue_range("Topic", 0), (0, 2));
    assert_eq!(engine.take_arrivals().len(), 1);
}

#[test]
fn one_sync_covers_everything_written_before_it() {
    let dir = Dir::new();
    let (disk, faults) = FaultyDisk::with_faults();
    let engine = open_on(
        disk,
        Settings {
            sync_flush: true,
            ..settings(&dir)
        },
    );
    append(&engine, "Topic", 0, b"x");
    engine.write().unwrap();
    until("flushed", || {
        engine.positions().commit == engine.positions().written
    });
    let held = faults.hold_syncs();
    let before = faults.log_syncs();
    for _ in 0..20 {
        append(&engine, "Topic", 0, b"x");
        engine.write().unwrap();
    }
    drop(held);
    until("flushed", || {
        engine.positions().commit == engine.positions().written
    });
    assert!(
        faults.log_syncs() - before <= 2,
        "{}",
        faults.log_syncs() - before
    );
}

#[test]
fn queues_that_cannot_be_written_wait_in_memory() {
    let dir = Dir::new();
    let (disk, faults) = FaultyDisk::with_faults();
    let quick = Settings {
        flush_interval_consume_queue_ms: 1,
        ..settings(&dir)
    };
    let engine = open_on(disk, quick);
    faults.set(|plan| plan.write = Some(("consumequeue".into(), 7, libc::ENOSPC)));
    fill(&engine, 30);
    until("noticed", || engine.persist_failure().is_some());
    assert!(engine.persist_failure().unwrap().contains("consumequeue/"));
    let before = view(&engine);
    assert_eq!(engine.queue_range("Topic", 1).1, 10);
    let copy = dir.copy();
    assert_eq!(view(&open(&copy)), before);
    faults.set(|plan| plan.write = None);
    until("written", || engine.persist_failure().is_none());
    assert_eq!(view(&engine), before);
    engine.close().unwrap();
    assert_eq!(view(&open(&dir)), before);
}

#[test]
fn a_closed_store_says_so() {
    let dir = Dir::new();
    let engine = Engine::open(Arc::new(rmqlog::disk::RealDisk), settings(&dir)).unwrap();
    fill(&engine, 2);
    append(&engine, "Topic", 0, b"closing writes the turn");
    engine.close().unwrap();
    engine.close().unwrap();
    let message = message("Topic", 0, b"", b"");
    assert!(matches!(
        engine.append("Topic", &message, 1),
        Err(StoreError::Failed(_))
    ));
    assert!(engine.plan_read("Topic", 0, 0, 1, 1, None).is_err());
    assert_eq!(open(&dir).queue_range("Topic", 0), (0, 1));
    assert_eq!(fs::read(dir.path("lock")).unwrap(), b"lock");
}

#[test]
fn a_segment_the_device_failed_at_is_not_tried_again_and_nothing_more_is_taken() {
    let dir = Dir::new();
    let (disk, faults) = FaultyDisk::with_faults();
    let engine = open_on(disk, settings(&dir));
    let next = "commitlog/00000000000000004096";
    faults.set(|plan| plan.sync = Some((next.into(), libc::EIO)));
    let tries = || {
        let mut count = 0;
        faults.set(|plan| {
            count = plan
                .synced
                .iter()
                .filter(|path| path.ends_with(next))
                .count();
        });
        count
    };
    // The write that comes beyond seven tenths of the segment orders the next one.
    while engine.positions().written <= 4096 / 10 * 7 {
        append(&engine, "Topic", 0, b"x");
        engine.write().unwrap();
    }
    until("the next segment was tried", || {
        // Each message orders it again, as long as nobody knows of the failure.
        drop(engine.append("Topic", &message("Topic", 0, b"x", b""), 1));
        drop(engine.write());
        engine.failure().is_some() || tries() > 1
    });
    assert!(engine.failure().is_some());
    let before = view(&engine);
    let text = engine.failure().unwrap();
    assert!(text.contains("00000000000000004096: create"), "{text}");
    assert!(text.contains("os error 5"), "{text}");
    for _ in 0..20 {
        let refused = engine.append("Topic", &message("Topic", 0, b"x", b""), 1);
        assert_eq!(refused.unwrap_err().to_string(), text);
        engine.write().unwrap();
    }
    assert_eq!(tries(), 1, "a device that failed is not asked again");
    assert_eq!(view(&engine), before, "what is there can be read");
    kill(engine);
    let engine = open(&dir);
    assert_eq!(view(&engine), before);
    fill(&engine, 60);
    assert!(engine.positions().written > 4096);
}
